"""LoaderHarness: the state machine of one Loader, with its retries.

Theory of operation. The manager thread owns every harness and is the only one to move it; executor
threads merely run the Loader's methods and report back. Every move is a row of `TRANSITIONS`;
whatever has no row is refused. A load that failed is tried again after a pause (RETRY_WAIT, which
occupies no thread) until its tries are used up; then the version is in ERROR, which is public
(END), and gets another round of tries after a growing delay. Either way it is NEW again first, so
that the policy decides whether it may load now.

    NEW ─▶ LOADING ─▶ READY ─▶ QUIESCING ─▶ UNLOADING ─▶ DISABLED
     ▲      │  └──────────(discarded)──────────▲
     │      ▼
     ├── RETRY_WAIT
     │      ▼
     └──  ERROR
"""

import enum
from dataclasses import dataclass
from types import MappingProxyType

from modelserver.core.loader import Loader
from modelserver.core.servable import ServableData, ServableId
from modelserver.errors import FailedPreconditionError, ServingError


class HarnessState(enum.Enum):
    """Where a Loader is. Policies decide on these."""

    NEW = "new"
    """Nothing done yet."""
    LOADING = "loading"
    """`Loader.load` runs or is queued on a load thread."""
    RETRY_WAIT = "retry-wait"
    """A try failed; the next one is due later."""
    READY = "ready"
    """Loaded; handles can be had."""
    QUIESCING = "quiescing"
    """No new handles; waiting for the last one to be released."""
    UNLOADING = "unloading"
    """`Loader.unload` runs or is queued on an unload thread."""
    DISABLED = "disabled"
    """Unloaded; the end."""
    ERROR = "error"
    """Out of tries, or the source reported an error."""


class HarnessEvent(enum.Enum):
    """What can happen to a Loader."""

    LOAD_REQUESTED = enum.auto()
    LOAD_SUCCEEDED = enum.auto()
    LOAD_FAILED = enum.auto()
    RETRY_DUE = enum.auto()
    GAVE_UP = enum.auto()
    LOAD_SKIPPED = enum.auto()
    DISCARDED = enum.auto()
    UNLOAD_REQUESTED = enum.auto()
    LAST_HANDLE_RELEASED = enum.auto()
    UNLOADED = enum.auto()


_S, _E = HarnessState, HarnessEvent
TRANSITIONS = MappingProxyType(
    {
        (_S.NEW, _E.LOAD_REQUESTED): _S.LOADING,
        (_S.NEW, _E.GAVE_UP): _S.ERROR,
        (_S.LOADING, _E.LOAD_SUCCEEDED): _S.READY,
        (_S.LOADING, _E.LOAD_FAILED): _S.RETRY_WAIT,
        (_S.LOADING, _E.LOAD_SKIPPED): _S.NEW,
        (_S.LOADING, _E.DISCARDED): _S.UNLOADING,
        (_S.RETRY_WAIT, _E.RETRY_DUE): _S.NEW,
        (_S.RETRY_WAIT, _E.GAVE_UP): _S.ERROR,
        (_S.READY, _E.UNLOAD_REQUESTED): _S.QUIESCING,
        (_S.QUIESCING, _E.LAST_HANDLE_RELEASED): _S.UNLOADING,
        (_S.UNLOADING, _E.UNLOADED): _S.DISABLED,
        (_S.ERROR, _E.RETRY_DUE): _S.NEW,
    }
)
"""The whole machine: (state, event) → next state."""

_REFUSALS = {
    HarnessEvent.LOAD_REQUESTED: "Duplicate load request",
    HarnessEvent.UNLOAD_REQUESTED: "Servable not loaded, or unload already requested/ongoing",
}


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """How often and when a failed load is tried again.

    A round is 1 + `max_num_load_retries` tries, `load_retry_interval_seconds` apart. After a failed
    round the version is at END with its error; rounds follow after `recreate_initial_seconds`,
    doubled each time up to `recreate_max_seconds`.
    """

    max_num_load_retries: int = 5
    load_retry_interval_seconds: float = 60.0
    recreate_initial_seconds: float = 10.0
    recreate_max_seconds: float = 600.0

    def recreate_delay_seconds(self, failed_rounds: int) -> float:
        """Seconds from the end of the last of `failed_rounds` (≥ 1) rounds to the start of the
        next.
        """
        doublings = min(failed_rounds - 1, 32)
        return min(self.recreate_initial_seconds * 2.0**doublings, self.recreate_max_seconds)


class LoaderHarness:
    """One version under management. Owned by the manager thread; not thread-safe.

    `is_aspired` says whether the version is wanted at the moment; a load that succeeds when it is
    not is discarded. `error` is the last failure, kept until a load succeeds. `due` is the
    monotonic time at which RETRY_WAIT or ERROR is to be left; None while there is nothing to wait
    for.
    """

    def __init__(self, data: ServableData[Loader], retry: RetryOptions) -> None:
        self.id: ServableId = data.id
        self.loader = data.data
        self.revision = data.revision
        self.origin = data.origin
        self.state = HarnessState.NEW
        self.is_aspired = True
        self.error: ServingError | None = None
        self.due: float | None = None
        self._retry = retry
        self._failed_tries = 0
        self._failed_rounds = 0
        self._last_offer: ServableData[Loader] | None = None

    def handle(self, event: HarnessEvent) -> None:
        """Make the move that `event` means in the present state.

        Raises:
            FailedPreconditionError: there is no such move; nothing has changed.

        """
        next_state = TRANSITIONS.get((self.state, event))
        if next_state is None:
            default = f"Illegal event {event.name} for {self.id} in state {self.state.value}"
            raise FailedPreconditionError(_REFUSALS.get(event, default))
        self.state = next_state
        self.due = None

    # Failing, waiting, trying again…

    def load_failed(self, error: ServingError, now: float) -> None:
        """Record a failed try: RETRY_WAIT until the next one, or ERROR when it was the last or
        nobody wants it.
        """
        self.handle(HarnessEvent.LOAD_FAILED)
        self.error = error
        self._failed_tries += 1
        if self._failed_tries > self._retry.max_num_load_retries or not self.is_aspired:
            self.give_up(error, now)
        else:
            self.due = now + self._retry.load_retry_interval_seconds

    def give_up(self, error: ServingError, now: float) -> None:
        """Go to ERROR with `error`; due for another round after the backoff.

        Where there is no Loader, because the source reported an error, there is nothing to try.
        """
        self.handle(HarnessEvent.GAVE_UP)
        self.error = error
        self._failed_rounds += 1
        if self.loader is not None:
            self.due = now + self._retry.recreate_delay_seconds(self._failed_rounds)

    def retry(self) -> None:
        """Go back to NEW: for the next try of a round, or for the first of another."""
        if self.state is HarnessState.ERROR:
            self._failed_tries = 0
        self.handle(HarnessEvent.RETRY_DUE)

    def offer(self, data: ServableData[Loader]) -> bool:
        """Look at what the source says of this version now, after a failure in RETRY_WAIT or ERROR.

        Content that is not what failed, and has stayed the same for two lists, is taken over, the
        failures of the older content are forgotten, and a try is due at once. (A listing that
        changes with every poll must not turn into a load with every poll.) Returns whether it was.
        """
        last, self._last_offer = self._last_offer, data
        if data is last or data.data is None or not self._is_news(data):
            return False
        if self.loader is not None and (last is None or last.revision != data.revision):
            return False
        self.loader, self.revision = data.data, data.revision
        self._failed_tries = self._failed_rounds = 0
        self.due = float("-inf")
        return True

    def _is_news(self, data: ServableData[Loader]) -> bool:
        return self.loader is None or data.revision != self.revision

    @property
    def progress(self) -> str:
        """For people: which try failed, of how many."""
        return f"try {self._failed_tries} of {self._retry.max_num_load_retries + 1} failed"

    def __repr__(self) -> str:
        wish = "" if self.is_aspired else " unaspired"
        return f"<LoaderHarness {self.id} {self.state.value}{wish}>"
