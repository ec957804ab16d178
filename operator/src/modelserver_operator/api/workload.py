"""What a ModelServer says about its pods beyond the models in them."""

from typing import Annotated

from pydantic import ConfigDict, Field

from modelserver_operator.api.base import OBJECT_NAME, ApiModel, Quantity
from modelserver_operator.api.marks import Rule, extra
from modelserver_operator.json_types import JsonObject

ShortText = Annotated[str, Field(max_length=253)]


class Autoscaling(ApiModel):
    """The bounds and the measure of a HorizontalPodAutoscaler."""

    model_config = ConfigDict(
        json_schema_extra=extra(
            Rule(
                "self.minReplicas <= self.maxReplicas",
                "minReplicas must not be larger than maxReplicas",
            ),
            Rule(
                "!has(self.metrics) || !has(self.targetCPUUtilizationPercentage)",
                "set metrics or targetCPUUtilizationPercentage, not both",
            ),
        )
    )

    min_replicas: int = Field(default=1, ge=1, le=1000, description="Fewest pods.")
    max_replicas: int = Field(ge=1, le=1000, description="Most pods.")
    target_cpu_utilization_percentage: int | None = Field(
        default=None,
        alias="targetCPUUtilizationPercentage",
        ge=1,
        le=1000,
        description="Average CPU use to hold, as a percentage of what the pods request. "
        "Default: 80 where there are no metrics.",
    )
    metrics: tuple[JsonObject, ...] = Field(
        default=(),
        max_length=16,
        description="What to scale by, as spec.metrics of a HorizontalPodAutoscaler "
        "(autoscaling/v2).",
        json_schema_extra=extra(list_type="atomic"),
    )
    behavior: JsonObject | None = Field(
        default=None,
        description="How fast to scale, as spec.behavior of a HorizontalPodAutoscaler "
        "(autoscaling/v2).",
    )


class LocalObjectReference(ApiModel):
    """Another object in the same namespace."""

    name: str = Field(
        min_length=1,
        max_length=253,
        description="Name of the object.",
        json_schema_extra=extra(OBJECT_NAME),
    )


class Resources(ApiModel):
    """What the server's container requests and may use."""

    requests: dict[str, Quantity] = Field(
        default_factory=dict,
        max_length=32,
        description="What is reserved for it, such as cpu: 500m, memory: 2Gi.",
    )
    limits: dict[str, Quantity] = Field(
        default_factory=dict,
        max_length=32,
        description="The most it may use, such as cpu: 4, memory: 8Gi.",
    )


class Gpu(ApiModel):
    """The GPUs of each pod."""

    count: int = Field(
        default=1,
        le=64,
        description="How many in each pod, 1 to 64.",
        json_schema_extra=extra(
            Rule("self >= 1", "must be 1 or more; to use no GPU, leave gpu out")
        ),
    )
    resource_name: str = Field(
        default="nvidia.com/gpu",
        min_length=1,
        max_length=253,
        description="The resource under which the node offers them. A taint of that name is "
        "tolerated.",
    )


class SecretKey(ApiModel):
    """One key of a Secret in the same namespace."""

    name: str = Field(
        min_length=1,
        max_length=253,
        description="Name of the Secret.",
        json_schema_extra=extra(OBJECT_NAME),
    )
    key: str = Field(
        default="key.json",
        min_length=1,
        max_length=253,
        description="Key in the Secret whose value is the file.",
        json_schema_extra=extra(
            Rule(
                "self.matches('^[-._a-zA-Z0-9]+$')",
                "must be made of letters, digits, '-', '_' and '.', such as key.json",
            )
        ),
    )


class EnvVar(ApiModel):
    """One environment variable."""

    model_config = ConfigDict(
        json_schema_extra=extra(
            Rule(
                "!has(self.value) || !has(self.valueFrom)",
                "set value or valueFrom, not both",
            )
        )
    )

    name: str = Field(
        min_length=1,
        max_length=256,
        description="Name of the variable.",
        json_schema_extra=extra(
            Rule(
                "self.matches('^[-._a-zA-Z][-._a-zA-Z0-9]*$')",
                "must be made of letters, digits, '_', '-' and '.', and not begin with a digit",
            ),
            Rule(
                "!(self in ['POD_NAME', 'POD_NAMESPACE', 'POD_UID'])",
                "must not be POD_NAME, POD_NAMESPACE or POD_UID, which the operator sets",
            ),
        ),
    )
    value: str | None = Field(default=None, max_length=32_768, description="Its value.")
    value_from: JsonObject | None = Field(
        default=None,
        description="Where its value comes from, as env[].valueFrom of a container.",
    )


class Toleration(ApiModel):
    """A taint that the pods put up with, as in a Pod."""

    key: ShortText | None = Field(
        default=None, description="Key of the taint; none with operator Exists = every taint."
    )
    operator: ShortText | None = Field(
        default=None, description="Equal (the default) compares value, Exists does not."
    )
    value: ShortText | None = Field(default=None, description="Value of the taint.")
    effect: ShortText | None = Field(
        default=None,
        description="NoSchedule, PreferNoSchedule or NoExecute; none = every effect.",
    )
    toleration_seconds: int | None = Field(
        default=None, description="Seconds until eviction under NoExecute; none = never."
    )


class PodTemplate(ApiModel):
    """What is merged into the pods' template."""

    metadata: JsonObject = Field(
        default_factory=dict, description="Labels and annotations of the pods."
    )
    spec: JsonObject = Field(
        default_factory=dict,
        description="Parts of a PodSpec. Containers, volumes and other named entries are merged "
        "by name (the server's container is modelserver), and added where the name is new.",
    )


class Cache(ApiModel):
    """Where the pods keep versions that come over the network."""

    model_config = ConfigDict(
        json_schema_extra=extra(
            Rule(
                "has(self.sizeLimit) != has(self.claimName)",
                "set exactly one of sizeLimit and claimName, such as {sizeLimit: 10Gi}",
            )
        )
    )

    size_limit: Quantity | None = Field(
        default=None,
        description="Keep them on the node's disk, with this much room in each pod, such as 10Gi: "
        "for the versions that are served and the one that comes next.",
    )
    claim_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="Keep them in this PersistentVolumeClaim, which all pods share and which "
        "outlives them: what is in it is not downloaded again. Its size is the only limit.",
        json_schema_extra=extra(OBJECT_NAME),
    )


class NetworkPolicy(ApiModel):
    """Who may call the pods."""

    enabled: bool = Field(default=True, description="Whether to make a NetworkPolicy.")
    ingress_from: tuple[JsonObject, ...] = Field(
        default=(),
        max_length=32,
        description="Who may call the serving ports, as ingress[].from of a NetworkPolicy. "
        "Without it: every pod of the same namespace.",
        json_schema_extra=extra(list_type="atomic"),
    )


class PodMonitor(ApiModel):
    """How Prometheus finds the pods."""

    enabled: bool = Field(default=True, description="Whether to make a PodMonitor.")
    labels: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict,
        max_length=32,
        description="Labels of the PodMonitor, by which a Prometheus selects it.",
    )
