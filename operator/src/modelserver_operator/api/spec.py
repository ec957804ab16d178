"""ModelServerSpec: what is asked for."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from modelserver_operator.api.base import OBJECT_NAME, ApiModel
from modelserver_operator.api.marks import Rule, change, cold, extra, hot
from modelserver_operator.api.model import ModelSpec
from modelserver_operator.api.workload import (
    Autoscaling,
    Cache,
    EnvVar,
    Gpu,
    LocalObjectReference,
    NetworkPolicy,
    PodMonitor,
    PodTemplate,
    Resources,
    SecretKey,
    Toleration,
)
from modelserver_operator.json_types import JsonObject


class ModelServerSpec(ApiModel):
    """One set of pods, and the models that each of them serves."""

    model_config = ConfigDict(
        json_schema_extra=extra(
            Rule(
                "!has(self.gpu) || !has(self.resources) || !has(self.resources.limits) || "
                "!(self.gpu.resourceName in self.resources.limits)",
                "name the GPUs once: in gpu, or in resources.limits",
            ),
        )
    )

    models: tuple[ModelSpec, ...] = Field(
        min_length=1,
        max_length=64,
        description="The models, 1 to 64. Every pod serves all of them.",
        json_schema_extra=hot(list_type="map", list_map_keys=["name"]),
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Number of pods. Not used while autoscaling is set.",
        json_schema_extra=hot(),
    )
    autoscaling: Autoscaling | None = Field(
        default=None,
        description="Lets a HorizontalPodAutoscaler choose the number of pods; wins over replicas.",
        json_schema_extra=hot(),
    )
    suspend: bool = Field(
        default=False,
        description="true ends all pods and keeps the Services and everything else.",
        json_schema_extra=change("Hot: the pods end, and start again afterwards."),
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="Image of the server. Default: the one that the operator was installed with. "
        "An upgrade of the operator leaves running servers on theirs.",
        json_schema_extra=cold(),
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None,
        description="When to pull the image. Default: the one that the operator was installed "
        "with.",
        json_schema_extra=cold(),
    )
    image_pull_secrets: tuple[LocalObjectReference, ...] = Field(
        default=(),
        max_length=16,
        description="Secrets for pulling the image. Default: those that the operator was installed "
        "with.",
        json_schema_extra=cold(list_type="map", list_map_keys=["name"]),
    )
    resources: Resources | None = Field(
        default=None,
        description="What the server's container requests and may use. Under "
        "AvailabilityPreserving plan memory for two versions of a model.",
        json_schema_extra=cold(),
    )
    gpu: Gpu | None = Field(
        default=None,
        description="GPUs of each pod. With it, pods are replaced without a spare GPU: the old one "
        "ends before the new one starts. Needs an image with TensorFlow for GPUs.",
        json_schema_extra=cold(),
    )
    credentials_secret_ref: SecretKey | None = Field(
        default=None,
        description="Secret with a service account's key file for gs://, mounted into the pods. "
        "Pods start without it too: then status says what cannot be read. Not needed with workload "
        "identity (serviceAccountName), nor for a public bucket (env MODELSERVER_GCS_ANONYMOUS: "
        "'true').",
        json_schema_extra=cold(),
    )
    env: tuple[EnvVar, ...] = Field(
        default=(),
        max_length=128,
        description="Environment variables of the server's container.",
        json_schema_extra=cold(list_type="map", list_map_keys=["name"]),
    )
    service_account_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="ServiceAccount of the pods, which must exist. With GKE's workload identity "
        "its annotation names who reads gs://. Default: the namespace's default account.",
        json_schema_extra=cold(OBJECT_NAME),
    )
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict,
        max_length=64,
        description="Labels that a node must have.",
        json_schema_extra=cold(),
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(),
        max_length=64,
        description="Taints that the pods put up with.",
        json_schema_extra=cold(list_type="atomic"),
    )
    affinity: JsonObject | None = Field(
        default=None,
        description="Which nodes and neighbours the pods prefer, as spec.affinity of a Pod.",
        json_schema_extra=cold(),
    )
    topology_spread_constraints: tuple[JsonObject, ...] = Field(
        default=(),
        max_length=16,
        description="How the pods spread, as spec.topologySpreadConstraints of a Pod. "
        "Default: over nodes, as far as that is possible.",
        json_schema_extra=cold(list_type="atomic"),
    )
    priority_class_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="PriorityClass of the pods.",
        json_schema_extra=cold(OBJECT_NAME),
    )
    runtime_class_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="RuntimeClass of the pods, such as nvidia.",
        json_schema_extra=cold(OBJECT_NAME),
    )
    cache: Cache | None = Field(
        default=None,
        description="Where gs:// versions are kept once they are downloaded: exactly one of "
        "sizeLimit and claimName. Default: the node's disk, for as long as the pod is there, "
        "without a limit.",
        json_schema_extra=cold(),
    )
    pod_template: PodTemplate | None = Field(
        default=None,
        description="Merged into the pods' template, for what has no field of its own: sidecars, "
        "more volumes, annotations.",
        json_schema_extra=cold(),
    )
    network_policy: NetworkPolicy | None = Field(
        default=None,
        description="Makes a NetworkPolicy that restricts who may call the pods; {} lets in the "
        "pods of the namespace only. Without it there is none.",
        json_schema_extra=hot(),
    )
    pod_monitor: PodMonitor | None = Field(
        default=None,
        description="Makes a PodMonitor for Prometheus. Without it there is one wherever the "
        "cluster knows PodMonitors.",
        json_schema_extra=hot(),
    )
