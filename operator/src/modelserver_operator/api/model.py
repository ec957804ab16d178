"""ModelSpec: one model of a ModelServer, and which of its versions to serve.

Everything here but the claim in `uri` reaches running servers without a restart.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from modelserver_operator.api.base import ApiModel, VersionNumber
from modelserver_operator.api.marks import Rule, change, extra
from modelserver_operator.api.rollout import Rollout


class Latest(ApiModel):
    """The newest complete versions."""

    count: int = Field(
        default=1, ge=1, le=100, description="How many of the newest complete versions to serve."
    )


class All(ApiModel):
    """Every complete version."""


class Specific(ApiModel):
    """The named versions, as far as they exist."""

    versions: tuple[VersionNumber, ...] = Field(
        min_length=1,
        max_length=100,
        description="Numbers of the versions to serve, as far as they exist.",
        json_schema_extra=extra(list_type="set"),
    )


class VersionPolicy(ApiModel):
    """Exactly one of its fields is set."""

    model_config = ConfigDict(
        json_schema_extra=extra(
            Rule(
                "[has(self.latest), has(self.all), has(self.specific)].exists_one(given, given)",
                "set exactly one of latest, all and specific, such as {latest: {count: 1}}, "
                "{all: {}} or {specific: {versions: [1, 2]}}",
            ),
            map_type="atomic",
        )
    )

    latest: Latest | None = Field(default=None, description="Serve the newest complete versions.")
    all: All | None = Field(default=None, description="Serve every complete version: {}.")
    specific: Specific | None = Field(
        default=None, description="Serve exactly these versions: to roll back, or to keep one."
    )


class VersionLabel(ApiModel):
    """A name that clients can ask for instead of a version's number."""

    name: str = Field(
        min_length=1,
        max_length=63,
        description="The label, such as stable or canary.",
        json_schema_extra=extra(
            Rule(
                "self.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",
                "must be made of letters, digits, '-', '_' and '.', "
                "with a letter or digit at both ends, such as stable",
            )
        ),
    )
    version: VersionNumber = Field(
        description="Number of the version. It may still be loading: the label moves when it is "
        "available, and until then status says LabelPending."
    )


class Batching(ApiModel):
    """How calls are collected into batches. Sizes are in rows."""

    model_config = ConfigDict(
        json_schema_extra=extra(
            Rule(
                "!has(self.allowedBatchSizes) || self.allowedBatchSizes.size() == 0 || "
                "self.allowedBatchSizes[self.allowedBatchSizes.size() - 1] == self.maxBatchSize",
                "the last of allowedBatchSizes must equal maxBatchSize",
            )
        )
    )

    max_batch_size: int = Field(
        default=32, ge=1, le=65_536, description="Most rows in one batch, and in one call."
    )
    timeout_micros: int = Field(
        default=1000,
        ge=0,
        le=60_000_000,
        description="Longest time that a batch waits for more calls, in microseconds. "
        "0 = not at all.",
    )
    max_enqueued_batches: int = Field(
        default=10,
        ge=1,
        le=100_000,
        description="Batches that may wait to run; beyond it calls are refused as UNAVAILABLE.",
    )
    allowed_batch_sizes: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        default=(),
        max_length=64,
        description="Sizes to which batches are padded, rising; the last one is maxBatchSize. "
        "Without it batches are not padded.",
        json_schema_extra=extra(
            Rule(
                "self.isSorted() && self.all(size, self.exists_one(other, other == size))",
                "must rise from size to size, such as [8, 16, 32]",
            ),
            list_type="atomic",
        ),
    )


class ModelSpec(ApiModel):
    """One model."""

    model_config = ConfigDict(
        json_schema_extra=extra(
            Rule(
                "!has(self.labels) || !has(self.versionPolicy.specific) || self.labels.all(label, "
                "label.version in self.versionPolicy.specific.versions)",
                "under versionPolicy.specific each label must name one of the versions listed "
                "there: add the version, or drop the label",
            ),
            Rule(
                "!has(self.rollout) || self.transitionPolicy != 'ResourcePreserving'",
                "a rollout needs both versions at a time: set transitionPolicy to "
                "AvailabilityPreserving, or drop rollout",
            ),
        )
    )

    name: str = Field(
        min_length=1,
        max_length=128,
        description="Name by which clients ask for the model.",
        json_schema_extra=extra(
            Rule(
                "self.matches('^[A-Za-z0-9_][-A-Za-z0-9_.]*$')",
                "must be made of letters, digits, '-', '_' and '.', "
                "and begin with a letter, a digit or '_'",
            )
        ),
    )
    uri: str = Field(
        min_length=1,
        max_length=1024,
        description="Folder that holds the model's numbered version folders: gs://BUCKET/PATH in "
        "Google Cloud Storage, or pvc://CLAIM/PATH in a PersistentVolumeClaim of the same "
        "namespace, which is mounted read-only. Versions in a bucket are downloaded into the cache "
        "before they load.",
        json_schema_extra=change(
            "Hot, except that pods restart where this brings in, or drops, a claim that no other "
            "model of the server uses.",
            Rule(
                "self.matches('^gs://[a-z0-9][-a-z0-9_.]*[a-z0-9](/.*)?$') || "
                "self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/.*)?$')",
                "must be gs://BUCKET/PATH or pvc://CLAIM/PATH, the folder that holds the "
                "numbered version folders; no other scheme is supported",
            ),
            Rule(
                "!self.matches('/[.][.]?(/|$)')",
                "must not have '.' or '..' as a part of its path: write the path in full",
            ),
        ),
    )
    platform: str = Field(
        default="tensorflow",
        min_length=1,
        max_length=63,
        description="What reads the versions: tensorflow for SavedModels, or the entry-point name "
        "of a platform that is installed in the server's image.",
        json_schema_extra=extra(
            Rule(
                "self.matches('^[A-Za-z0-9_][-A-Za-z0-9_.]*$')",
                "must be made of letters, digits, '-', '_' and '.', such as tensorflow",
            )
        ),
    )
    version_policy: VersionPolicy = Field(
        default=VersionPolicy(latest=Latest()),
        description="Which versions to serve: exactly one of latest, all and specific. A version "
        "that is bad or incomplete never removes a good one.",
    )
    labels: tuple[VersionLabel, ...] = Field(
        default=(),
        max_length=32,
        description="Names that clients can ask for instead of a version's number.",
        json_schema_extra=extra(list_type="map", list_map_keys=["name"]),
    )
    transition_policy: Literal["AvailabilityPreserving", "ResourcePreserving"] = Field(
        default="AvailabilityPreserving",
        description="AvailabilityPreserving loads the new version before it unloads the old one, "
        "and needs memory for both; ResourcePreserving unloads first, and answers no call in "
        "between.",
    )
    poll_seconds: int | None = Field(
        default=None,
        ge=0,
        le=86_400,
        description="Seconds between two looks for new versions. 0 = only at start and on request "
        "(annotation modelserver.dev/poll-now). Default: 1 for pvc://; 30 for gs://, where each "
        "look is a list request, which is paid for, and the time varies a little so that not all "
        "pods ask at once.",
    )
    ready_marker: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Name of a file, such as _SUCCESS: a version counts only once its folder has "
        "it. Without it the model's own files tell whether a version is complete.",
        json_schema_extra=extra(
            Rule(
                "!self.contains('/') && self != '.' && self != '..'",
                "must be the name of a file in the version's folder, without '/', such as _SUCCESS",
            )
        ),
    )
    batching: Batching | None = Field(
        default=None,
        description="Collects calls into batches; {} does so with the defaults. "
        "Without it each call runs by itself.",
    )
    rollout: Rollout | None = Field(
        default=None,
        description="Moves calls to a new version in steps. This release keeps the field and does "
        "not act on it: status says RolloutHealthy False, NotSupported.",
    )

    @property
    def claim(self) -> str:
        """The PersistentVolumeClaim that the model is in; empty when it is elsewhere."""
        scheme, _, path = self.uri.partition("://")
        return path.partition("/")[0] if scheme == "pvc" else ""
