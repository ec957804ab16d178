"""ModelServerStatus: what is. The operator writes it; all of it can be derived anew.

No field will ever become required: older objects and older operators lack the newer ones.
"""

from typing import Literal

from pydantic import Field

from modelserver_operator.api.base import (
    ApiModel,
    Message,
    RowMessage,
    Timestamp,
    VersionNumber,
    Word,
)
from modelserver_operator.api.marks import extra

# The scale subresource takes no more.
_MOST_PODS = 2**31 - 1


class Condition(ApiModel):
    """One aspect of the resource, in Kubernetes' form."""

    type: str = Field(
        min_length=1, max_length=63, description="Which aspect: Ready, SourceAccessible, …"
    )
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(
        min_length=1, max_length=63, description="Why, in one word that programs can compare."
    )
    message: Message = Field(default="", description="Why, in a sentence for people.")
    last_transition_time: Timestamp = Field(description="When status last changed.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="metadata.generation of the spec that this is about."
    )


class VersionStatus(ApiModel):
    """One version of a model, summed up over the pods."""

    version: VersionNumber = Field(description="Number of the version.")
    state: Word = Field(
        default="",
        description="Start (waiting, incomplete or downloading), Loading, Available, Unloading or "
        "End.",
    )
    reason: Word = Field(
        default="",
        description="Why it is in this state: Incomplete, Downloading, LoadFailed, … or nothing; "
        "or Mutated, where its files were overwritten after it was loaded.",
    )
    message: RowMessage = Field(default="", description="The same for people.")
    labels: tuple[Word, ...] = Field(
        default=(),
        max_length=32,
        description="Labels that answer with this version.",
        json_schema_extra=extra(list_type="atomic"),
    )
    weight: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Percentage of the calls that it gets, during a rollout.",
    )
    available_replicas: int = Field(
        default=0, ge=0, le=_MOST_PODS, description="Pods in which the version is Available."
    )
    first_seen_time: Timestamp | None = Field(
        default=None, description="When a pod first found the version."
    )
    available_time: Timestamp | None = Field(
        default=None, description="When it first became Available."
    )
    next_retry_time: Timestamp | None = Field(
        default=None, description="When a failed load, or download, is tried again."
    )


class ModelStatus(ApiModel):
    """One model and its versions."""

    name: str = Field(max_length=128, description="Name of the model.")
    versions: tuple[VersionStatus, ...] = Field(
        default=(),
        max_length=200,
        description="Its versions, the newest first.",
        json_schema_extra=extra(list_type="atomic"),
    )


class Endpoints(ApiModel):
    """Where clients find the server within the cluster."""

    grpc: str = Field(
        default="", max_length=320, description="HOST:PORT for gRPC, through the Service."
    )
    rest: str = Field(
        default="", max_length=320, description="URL for REST; empty where it is not offered."
    )
    headless: str = Field(
        default="",
        max_length=320,
        description="Target for gRPC clients that balance over the pods by themselves "
        "(round_robin): dns:///HOST:PORT.",
    )


class ModelServerStatus(ApiModel):
    """What is."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="metadata.generation of the spec that status is about."
    )
    replicas: int = Field(default=0, ge=0, le=_MOST_PODS, description="Pods that exist.")
    ready_replicas: int = Field(default=0, ge=0, le=_MOST_PODS, description="Pods that are ready.")
    selector: str = Field(
        default="", max_length=1024, description="Label selector of the pods, for autoscalers."
    )
    endpoints: Endpoints | None = Field(
        default=None, description="Where clients find the server within the cluster."
    )
    serving_versions: Message = Field(
        default="", description="The models' available versions in one line: mnist:2."
    )
    source: Message = Field(default="", description="The models' URIs in one line.")
    ready_summary: str = Field(
        default="", max_length=63, description="Ready pods of those wanted: 2/3."
    )
    models: tuple[ModelStatus, ...] = Field(
        default=(),
        max_length=200,
        description="Each model with its versions, at most 200 rows in all.",
        json_schema_extra=extra(list_type="atomic"),
    )
    versions_truncated: bool = Field(
        default=False, description="true = there are more versions than models lists."
    )
    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        description="What holds and what does not, one entry for each aspect.",
        json_schema_extra=extra(list_type="map", list_map_keys=["type"]),
    )
