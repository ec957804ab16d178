"""ConfigDocument: what the servers are to do, as they read it from their ConfigMap.

One JSON object with a schema version; a server ignores keys that it does not know and keeps its old
document rather than take one of another schema.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from modelserver_operator.api import Batching, ModelServer, ModelSpec, VersionPolicy
from modelserver_operator.desired.awaited import Awaiting, ModelPath, awaiting
from modelserver_operator.desired.canonical import canonical_json, digest
from modelserver_operator.desired.labels import POLL_NOW_ANNOTATION, config_map_name
from modelserver_operator.desired.model_uri import base_path
from modelserver_operator.desired.ownership import own_child
from modelserver_operator.desired.volumes import CONFIG_FILE
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Observed
from modelserver_operator.reports import PodReport

WRITABLE_SCHEMAS = (1,)
"""The schemas of the document that this operator can write."""

SERVED_ANNOTATION = "modelserver.dev/has-served"
"""On the ConfigMap: some pod has been ready once, so new pods need not wait for every model."""

# A claim is listed by a system call; listing a bucket is paid for.
_POLL_SECONDS_OF_CLAIM = 1
_POLL_SECONDS_OF_BUCKET = 30


@dataclass(frozen=True, slots=True)
class ConfigDocument:
    """The document's exact text and its hash, which pods report once they act on it.

    `has_served` and `is_understood` are about the pods: whether one has ever been ready, and
    whether all that report accept the document's schema.
    """

    text: str
    hash: str
    has_served: bool = False
    is_understood: bool = True


def config_document(server: ModelServer, observed: Observed) -> ConfigDocument:
    """The document for `server`, in a schema that its pods accept."""
    reports = _reports(observed)
    live = _live_document(observed)
    schema = common_schema([report.accepted_config_schemas for report in reports])
    paths = {_path(model): model for model in server.spec.models}
    waits = awaiting(paths, reports, _previous(observed, live))
    document = {
        "schemaVersion": _schema_to_write(schema, observed, live),
        "pollRequest": server.metadata.annotations.get(POLL_NOW_ANNOTATION, ""),
        "models": [_model(model, waits.models[path]) for path, model in paths.items()],
    }
    text = canonical_json(document)
    return ConfigDocument(text, config_hash(text), waits.has_served, schema is not None)


def config_hash(text: str) -> str:
    """What operator and servers call a document: 16 hex digits of the hash of its bytes."""
    return digest(text)[:16]


# Schemas…


def common_schema(
    accepted: Iterable[Iterable[int]], writable: Iterable[int] = WRITABLE_SCHEMAS
) -> int | None:
    """The highest schema of those writable that every pod accepts; None when there is none."""
    common = set(writable).intersection(*map(set, accepted))
    return max(common, default=None)


def _schema_to_write(common: int | None, observed: Observed, live: JsonObject) -> int:
    written = live.get("schemaVersion")
    silent = any(pod.is_live and pod.uid not in observed.reports for pod in observed.pods)
    if silent and written in WRITABLE_SCHEMAS:
        # Who has not been heard yet may know this one only.
        return int(written)
    return common if common is not None else max(WRITABLE_SCHEMAS)


# What was decided before…


def _reports(observed: Observed) -> list[PodReport]:
    uids = [pod.uid for pod in observed.pods if pod.is_live]
    return [observed.reports[uid] for uid in uids if uid in observed.reports]


def _live_document(observed: Observed) -> JsonObject:
    live = own_child(observed, "ConfigMap", config_map_name(observed.server.metadata.name)) or {}
    try:
        document = json.loads((live.get("data") or {}).get(CONFIG_FILE, ""))
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _previous(observed: Observed, live: JsonObject) -> Awaiting:
    name = config_map_name(observed.server.metadata.name)
    config_map = own_child(observed, "ConfigMap", name) or {}
    annotations = config_map.get("metadata", {}).get("annotations") or {}
    has_served = annotations.get(SERVED_ANNOTATION) == "true"
    # Anybody may have edited it.
    rows = live.get("models")
    models = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return Awaiting(has_served, {_live_path(model): model.get("await") is True for model in models})


def _live_path(model: JsonObject) -> ModelPath:
    return ModelPath(str(model.get("name")), str(model.get("basePath")))


# Models…


def _path(model: ModelSpec) -> ModelPath:
    return ModelPath(model.name, base_path(model.uri))


def _model(model: ModelSpec, is_awaited: bool) -> JsonObject:
    return {
        "name": model.name,
        "basePath": base_path(model.uri),
        "platform": model.platform,
        "versionPolicy": _version_policy(model.version_policy),
        "labels": {label.name: label.version for label in model.labels},
        "transitionPolicy": model.transition_policy,
        "pollSeconds": _poll_seconds(model),
        "readyMarker": model.ready_marker,
        "batching": _batching(model.batching),
        "await": is_awaited,
    }


def _version_policy(policy: VersionPolicy) -> JsonObject:
    if policy.specific is not None:
        return {"specific": {"versions": sorted(policy.specific.versions)}}
    if policy.latest is not None:
        return {"latest": {"count": policy.latest.count}}
    return {"all": {}}


def _poll_seconds(model: ModelSpec) -> int:
    if model.poll_seconds is not None:
        return model.poll_seconds
    return _POLL_SECONDS_OF_CLAIM if model.claim else _POLL_SECONDS_OF_BUCKET


def _batching(batching: Batching | None) -> JsonObject | None:
    if batching is None:
        return None
    return {
        "maxBatchSize": batching.max_batch_size,
        "timeoutMicros": batching.timeout_micros,
        "maxEnqueuedBatches": batching.max_enqueued_batches,
        "allowedBatchSizes": list(batching.allowed_batch_sizes),
    }
