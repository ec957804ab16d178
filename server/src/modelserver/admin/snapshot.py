"""What the admin port knows of a server at one moment. Values only; whoever wires the server makes
them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelserver.core.state import ServableState
from modelserver.core.storage_totals import StorageTotals
from modelserver.core.stored_version import StoredVersion
from modelserver.errors import ServingError


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """Whether a model's base path can be looked at: `is_accessible` is None while that is not known
    yet, `error` says why not, `message` what there is to say otherwise. Of the `mutated` versions,
    other content is there than is loaded.
    """

    is_accessible: bool | None = None
    error: ServingError | None = None
    message: str = ""
    mutated: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ModelSnapshot:
    """One configured model.

    `states` has its versions, highest first. `requested_labels` are as configured, `labels` as they
    point at present. Readiness waits for the model if it `is_awaited`. `stored` has the files of
    those versions of which they are known; `next_poll` is when (monotonic) the base path is looked
    at next, None while that is not planned.
    """

    name: str
    base_path: str
    source: SourceSnapshot = SourceSnapshot()
    states: Mapping[int, ServableState] = field(default_factory=dict)
    requested_labels: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    is_awaited: bool = True
    stored: Mapping[int, StoredVersion] = field(default_factory=dict)
    next_poll: float | None = None

    @property
    def is_available(self) -> bool:
        """Whether some version answers calls."""
        return any(state.is_available for state in self.states.values())

    @property
    def mutated(self) -> frozenset[int]:
        """The available versions that were overwritten after they were loaded."""
        available = (version for version, state in self.states.items() if state.is_available)
        return self.source.mutated.intersection(available)


@dataclass(frozen=True, slots=True)
class ConfigError:
    """Why the newest configuration is not in force. `hash` is that of its content, empty where it
    could not be read.
    """

    hash: str
    message: str


@dataclass(frozen=True, slots=True)
class ConfigSnapshot:
    """Which configuration is in force: the `hash` of its content, empty before the first and where
    it does not come from a file that is watched.
    """

    hash: str = ""
    error: ConfigError | None = None


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """A server at one moment.

    It `is_accepting` calls from the end of its start-up, also while it `is_draining`.
    `calls_in_flight`, `uptime_seconds`, `storage`, the downloads among what is stored and `now`,
    the monotonic time, tick; nothing else changes unless something happens.
    """

    server_version: str = ""
    accepted_config_schemas: tuple[int, ...] = ()
    pod_name: str = ""
    pod_uid: str = ""
    config: ConfigSnapshot = ConfigSnapshot()
    is_configured: bool = True
    is_accepting: bool = False
    is_draining: bool = False
    models: tuple[ModelSnapshot, ...] = ()
    calls_in_flight: int = 0
    uptime_seconds: float = 0.0
    storage: StorageTotals = field(default_factory=StorageTotals)
    now: float = 0.0
