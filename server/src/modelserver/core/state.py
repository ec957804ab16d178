"""ServableState: where one version is in its life, and whether it got there in good health."""

import enum
from collections.abc import Hashable
from dataclasses import dataclass

from modelserver.core.servable import ServableId
from modelserver.errors import ServingError


class ManagerState(enum.IntEnum):
    """The life of a version, in order. The numbers are those of ModelVersionStatus.State on the
    wire.

    Races are settled once, here: AVAILABLE is published *after* handles can be had, UNLOADING
    *before* they no longer can. So a reader that sees AVAILABLE may ask, and one that asks too late
    sees UNLOADING.
    """

    START = 10
    """Known, not being loaded: aspired and waiting its turn, or held back as incomplete."""
    LOADING = 20
    """`Loader.load` is running, is about to, or failed and will be tried again."""
    AVAILABLE = 30
    """Handles can be had."""
    UNLOADING = 40
    """No new handles; the last ones run out, then `Loader.unload` runs."""
    END = 50
    """Over: unloaded if the state's `health` is None, failed otherwise."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Why a source does not aspire a version that it sees.

    `message` says what is waited for. A version `is_coming` if that is the server's own work, a
    download, and nobody else's. `error` is why that failed last, `retry_time`, in seconds since the
    epoch, when it is tried again.
    """

    message: str
    is_coming: bool = False
    error: ServingError | None = None
    retry_time: float | None = None


@dataclass(frozen=True, slots=True)
class ServableState:
    """One published state of one version. Immutable; a newer one replaces it.

    `health` is None while all is well, else the error that brought the version here. `message`
    tells a person what is being waited for ("waiting for upload: variables/variables.index"), and
    is empty when there is nothing to say. `retry_time`, in seconds since the epoch, is when a
    failed version is tried next. What is held back `is_coming` if nothing but a download is
    missing. `revision` identifies the content that is loaded, or is to be, where the source can
    tell.

    The other times, on the same scale, are the monitor's: of this state, of the first state of the
    version, of the newest beginning of a load, and since when the version is AVAILABLE (kept when
    it leaves, None again when it is to be loaded anew).
    """

    id: ServableId
    manager_state: ManagerState
    health: ServingError | None = None
    message: str = ""
    time: float = 0.0
    retry_time: float | None = None
    first_seen_time: float = 0.0
    loading_time: float | None = None
    available_time: float | None = None
    is_coming: bool = False
    revision: Hashable = None

    @property
    def is_held_back(self) -> bool:
        """Whether a source sees the version and does not aspire it."""
        return self.manager_state is ManagerState.START and bool(self.message)

    @property
    def is_available(self) -> bool:
        """Whether handles can be had."""
        return self.manager_state is ManagerState.AVAILABLE

    @property
    def seconds_to_available(self) -> float | None:
        """How long it took from the first state to AVAILABLE; None where it is not there."""
        if self.available_time is None:
            return None
        return max(0.0, self.available_time - self.first_seen_time)
