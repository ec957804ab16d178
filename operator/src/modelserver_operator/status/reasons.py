"""The condition types and the reasons that the status can give.

docs/status.md explains each of them, and a test keeps the two lists equal.
"""

from enum import StrEnum


class Aspect(StrEnum):
    """The types of conditions. Those from RECONCILING on are present only when they apply."""

    READY = "Ready"
    SOURCE_ACCESSIBLE = "SourceAccessible"
    WORKLOAD_AVAILABLE = "WorkloadAvailable"
    VERSIONS_CONVERGED = "VersionsConverged"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    ROLLOUT_HEALTHY = "RolloutHealthy"
    VERSION_MUTATED = "VersionMutated"
    PAUSED = "Paused"


class Reason(StrEnum):
    """Why a condition has its status, in a word that programs can compare."""

    # Ready
    SERVING = "Serving"
    STARTING = "Starting"
    NO_VERSION_AVAILABLE = "NoVersionAvailable"
    MODELS_NOT_AVAILABLE = "ModelsNotAvailable"
    SOURCE_INACCESSIBLE = "SourceInaccessible"
    WORKLOAD_UNAVAILABLE = "WorkloadUnavailable"
    # SourceAccessible
    ACCESSIBLE = "Accessible"
    NOT_FOUND = "NotFound"
    FORBIDDEN = "Forbidden"
    CREDENTIALS_MISSING = "CredentialsMissing"
    UNAVAILABLE = "Unavailable"
    UNSUPPORTED = "Unsupported"
    CLAIM_NOT_FOUND = "ClaimNotFound"
    CLAIM_LOST = "ClaimLost"
    CLAIM_NOT_BOUND = "ClaimNotBound"
    # WorkloadAvailable
    MINIMUM_REPLICAS_AVAILABLE = "MinimumReplicasAvailable"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
    CRASH_LOOPING = "CrashLooping"
    OOM_KILLED = "OOMKilled"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_CREATION_FAILED = "PodCreationFailed"
    # VersionsConverged
    CONVERGED = "Converged"
    LOADING = "Loading"
    DOWNLOADING = "Downloading"
    INCOMPLETE = "Incomplete"
    LOAD_FAILED = "LoadFailed"
    LABEL_PENDING = "LabelPending"
    VERSION_NOT_FOUND = "VersionNotFound"
    CONFIG_PENDING = "ConfigPending"
    CONFIG_REFUSED = "ConfigRefused"
    # several
    PROGRESSING = "Progressing"
    NOT_REPORTED = "NotReported"
    PODS_UNREACHABLE = "PodsUnreachable"
    SUSPENDED = "Suspended"
    SCALED_TO_ZERO = "ScaledToZero"
    NAME_CONFLICT = "NameConflict"
    INVALID_SPEC = "InvalidSpec"
    # Stalled, RolloutHealthy, VersionMutated, Paused
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    NOT_SUPPORTED = "NotSupported"
    FILES_CHANGED = "FilesChanged"
    RECONCILE_PAUSED = "ReconcilePaused"
