"""The config document: what the operator tells a running server to serve, as JSON. Pure.

    {"schemaVersion": 1, "pollRequest": "", "models": [{"name": …, "basePath": …, …}]}

Keys that are not known here are ignored: a newer operator may write them. A document of another
`schemaVersion` is refused, because what it says may mean something else.
"""

import json

from modelserver.config import ModelConfig, ModelList
from modelserver.core.policy import availability_preserving, resource_preserving
from modelserver.errors import InvalidArgumentError
from modelserver.inference.batching_options import BatchingOptions
from modelserver.json_object import INT64, JsonObject, refusal
from modelserver.sources.versions import All, Latest, ServableVersionPolicy, Specific

ACCEPTED_SCHEMAS = (1,)
"""The values of `schemaVersion` that are understood."""

_TRANSITION_POLICIES = {
    "AvailabilityPreserving": availability_preserving,
    "ResourcePreserving": resource_preserving,
}

_POSITIVE = range(1, 2**31)
_NOT_NEGATIVE = range(2**31)


def parse_config_document(content: bytes) -> ModelList:
    """Read a config document.

    Raises:
        InvalidArgumentError: names the place in the document, what is expected there and what is
            there instead.

    """
    try:
        value = json.loads(content)
        json.dumps(value, ensure_ascii=False).encode()  # escaped halves of characters do not travel
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested without end
        raise InvalidArgumentError(f"The config document is not JSON: {error}") from error
    document = JsonObject.at("", value)
    schema = document.integer("schemaVersion", _NOT_NEGATIVE)
    if schema not in ACCEPTED_SCHEMAS:
        known = ", ".join(map(str, ACCEPTED_SCHEMAS))
        raise InvalidArgumentError(
            f"schemaVersion {schema} is not understood by this server, which knows {known}"
        )
    models = tuple(_model(item) for item in document.children("models"))
    return ModelList(models, document.text("pollRequest", ""))


def _model(model: JsonObject) -> ModelConfig:
    return ModelConfig(
        name=model.text("name"),
        base_path=model.text("basePath"),
        platform=model.text("platform", "tensorflow"),
        version_policy=_version_policy(model),
        version_labels=_labels(model),
        transition_policy=model.one_of(
            "transitionPolicy", _TRANSITION_POLICIES, "AvailabilityPreserving"
        ),
        poll_wait_seconds=model.seconds("pollSeconds"),
        ready_marker=_ready_marker(model),
        batching=_batching(model),
        is_awaited=model.boolean("await", True),
    )


def _version_policy(model: JsonObject) -> ServableVersionPolicy:
    policy = model.child("versionPolicy")
    if policy is None:
        return Latest()
    given = [key for key in ("latest", "all", "specific") if policy.members.get(key) is not None]
    if len(given) != 1:
        raise refusal(policy.path, "exactly one of latest, all and specific", policy.members)
    choice = policy.child(given[0])
    assert choice is not None
    match given[0]:
        case "latest":
            return Latest(choice.integer("count", _POSITIVE, 1))
        case "all":
            return All()
        case _:
            return Specific(frozenset(choice.integers("versions", INT64)))


def _ready_marker(model: JsonObject) -> str:
    return "" if model.members.get("readyMarker") is None else model.text("readyMarker")


def _labels(model: JsonObject) -> dict[str, int]:
    labels = model.child("labels")
    return {} if labels is None else {key: labels.integer(key, INT64) for key in labels.members}


def _batching(model: JsonObject) -> BatchingOptions | None:
    batching = model.child("batching")
    if batching is None:
        return None
    defaults = BatchingOptions()
    try:
        return BatchingOptions(
            max_batch_size=batching.integer("maxBatchSize", _POSITIVE, defaults.max_batch_size),
            batch_timeout_micros=batching.integer(
                "timeoutMicros", _NOT_NEGATIVE, defaults.batch_timeout_micros
            ),
            max_enqueued_batches=batching.integer(
                "maxEnqueuedBatches", _POSITIVE, defaults.max_enqueued_batches
            ),
            allowed_batch_sizes=batching.integers("allowedBatchSizes", _POSITIVE),
        )
    except InvalidArgumentError as error:
        if error.message.startswith(batching.path):
            raise
        raise InvalidArgumentError(f"{batching.path}: {error.message}") from error
