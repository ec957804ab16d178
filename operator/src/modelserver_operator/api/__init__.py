"""The ModelServer resource as types, from which its CRD and its reference are generated."""

from modelserver_operator.api.base import ApiModel
from modelserver_operator.api.model import (
    All,
    Batching,
    Latest,
    ModelSpec,
    Specific,
    VersionLabel,
    VersionPolicy,
)
from modelserver_operator.api.rollout import Rollout, RolloutAnalysis, RolloutStep
from modelserver_operator.api.spec import ModelServerSpec
from modelserver_operator.api.status import (
    Condition,
    Endpoints,
    ModelServerStatus,
    ModelStatus,
    VersionStatus,
)
from modelserver_operator.api.v1alpha1 import (
    API_VERSION,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    Metadata,
    ModelServer,
)
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

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "PLURAL",
    "VERSION",
    "All",
    "ApiModel",
    "Autoscaling",
    "Batching",
    "Cache",
    "Condition",
    "Endpoints",
    "EnvVar",
    "Gpu",
    "Latest",
    "LocalObjectReference",
    "Metadata",
    "ModelServer",
    "ModelServerSpec",
    "ModelServerStatus",
    "ModelSpec",
    "ModelStatus",
    "NetworkPolicy",
    "PodMonitor",
    "PodTemplate",
    "Resources",
    "Rollout",
    "RolloutAnalysis",
    "RolloutStep",
    "SecretKey",
    "Specific",
    "Toleration",
    "VersionLabel",
    "VersionPolicy",
    "VersionStatus",
]
