"""ServableWatch: polls one servable, the thin shell around `decide`."""

import logging
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from modelserver.clock import Clock
from modelserver.core.servable import ServableId
from modelserver.core.source import Target
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.errors import (
    NotFoundError,
    ServingError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    as_serving_error,
)
from modelserver.sources.decision import Decision, PollState, Snapshot, decide
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.storage.base import Release, Storage, nothing_to_release
from modelserver.sources.versions import parse_version

_log = logging.getLogger(__name__)

HANGS_AFTER_SECONDS = 20.0
"""A poll that takes longer counts as one that gets no answer."""

_RETIRE_SECONDS = 1.0
_ASKED_AGAIN = (UnavailableError, UnauthenticatedError)
"""What may be over soon: an outage, a key that is being mounted."""

HeldBackReport: TypeAlias = Callable[[str, Mapping[int, HeldBack]], None]
"""Receives, after each poll of a servable, every version of it that is held back with the reason.
Thread-safe and quick."""


LoadedRevision: TypeAlias = Callable[[ServableId], Hashable]
"""Says which content (`ServableData.revision`) of an available version is loaded; None where it is
not available. Thread-safe and quick."""


def nothing_is_known(id: ServableId) -> Hashable:
    """The `LoadedRevision` of where nobody says what is loaded."""


def _poll_later(name: str) -> None:
    """Stand in where what has arrived may wait for the next poll."""


@dataclass(frozen=True, slots=True)
class WatchContext:
    """What all watches of one source share: where they look, and whom they tell.

    `poll_soon` has the servable of that name polled again: what it waited for has arrived.
    """

    storage: Storage
    clock: Clock
    target: Target[StoragePath]
    report_held_back: HeldBackReport
    versions_always_present: bool
    loaded_revision: LoadedRevision = nothing_is_known
    poll_soon: Callable[[str], None] = _poll_later


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Whether a base path can be looked at.

    `is_accessible` is None before the first poll has ended. `error` says why it is not; `warnings`
    what the last poll that succeeded looked for in vain. It `finds_nothing` where that saw neither
    a version to aspire nor one to hold back. Of the `mutated` versions, other content is there than
    is loaded.
    """

    is_accessible: bool | None = None
    error: ServingError | None = None
    warnings: tuple[str, ...] = ()
    finds_nothing: bool = False
    mutated: frozenset[int] = frozenset()


def _words(why: HeldBack) -> str:
    return f"{why.message}: {why.error}" if why.error else why.message


def _versions_of(decision: Decision) -> dict[int, StoragePath]:
    """What stands and what is to be here, by number: what stands goes before."""
    wanted = [(parse_version(path.place.rpartition("/")[2]), path) for path in decision.wanted]
    standing = [(version, data.data) for version, data in decision.state.aspired.items()]
    return {v: path for v, path in (*wanted, *standing) if v is not None and path is not None}


def _hangs(base_path: str) -> UnavailableError:
    return UnavailableError(
        f"Listing {base_path} has had no answer for more than {HANGS_AFTER_SECONDS:g} s: "
        "does the storage hang?"
    )


class ServableWatch:
    """Looks at one servable's base path when told to, tells the target, and remembers.

    `poll` is for one thread; the rest is thread-safe. After `retire` has returned, the target hears
    nothing more from this watch, even if a poll is still stuck in the storage.
    """

    def __init__(
        self, servable: MonitoredServable, context: WatchContext, *, has_forerunner: bool = False
    ) -> None:
        self.servable = servable
        self.state = PollState()
        self.error: ServingError | None = None
        """Why the last poll came to nothing; None after one that succeeded."""
        self.versions: Mapping[int, StoragePath] = {}
        """Where the versions are that are aspired, or will be once they are here."""
        self._context = context
        self._has_polled = False
        self._poll_began: float | None = None
        self._warned: tuple[str, ...] = ()
        self._held_back: Mapping[int, HeldBack] = {}
        self._telling = threading.Lock()
        self._is_retired = False
        self._is_asked_for = False
        self._has_forerunner = has_forerunner
        self._stop_listening: Release = nothing_to_release

    def poll(self) -> bool:
        """Look once. Never raises: whatever goes wrong is logged when it is news, and the last list
        stands. Returns False where the storage did not answer, and should be asked again soon.
        """
        self._poll_began = self._context.clock.monotonic()
        self._listen()
        try:
            self._tell(self._look())
        except Exception as error:  # storage, platform and target are plug-ins
            self._remember(error)
        else:
            self.error = None
        self._has_polled = True
        self._poll_began = None
        return not (isinstance(self.error, _ASKED_AGAIN) or self._looks_in_vain())

    def _looks_in_vain(self) -> bool:
        """Whether a version could not be looked at. A download that fails has a time of its own."""
        held_back = list(self._held_back.values())
        return any(isinstance(w.error, _ASKED_AGAIN) and w.retry_time is None for w in held_back)

    @property
    def status(self) -> SourceStatus:
        """What is known of the base path now."""
        began, now = self._poll_began, self._context.clock.monotonic()
        if began is not None and now - began >= HANGS_AFTER_SECONDS:
            return self._inaccessible(_hangs(self.servable.base_path))
        if self.error is not None:
            return self._inaccessible(self.error)
        if not self._has_polled:
            return SourceStatus()
        finds_nothing = not (self.state.aspired or self._held_back)
        return SourceStatus(True, None, self._warned, finds_nothing, self.state.mutated)

    def _inaccessible(self, error: ServingError) -> SourceStatus:
        return SourceStatus(False, error, mutated=self.state.mutated)

    def relist(self) -> None:
        """Have the next poll look at the files of every version, however lately it has."""
        self._is_asked_for = True

    def retire(self) -> None:
        """Tell the target nothing more. Waits for a call to it that is under way, but not for a
        storage that hangs.
        """
        self._is_retired = True
        if self._telling.acquire(timeout=_RETIRE_SECONDS):
            self._telling.release()
        self._stop_listening()

    def succeed(self, predecessor: "ServableWatch") -> None:
        """Take over what a retired watch of the same place knew. Before the first poll."""
        self.state, self.error = predecessor.state, predecessor.error
        self.versions = predecessor.versions
        self._has_polled = predecessor._has_polled
        self._warned, self._held_back = predecessor._warned, predecessor._held_back

    def _listen(self) -> None:
        """Be polled sooner when the storage hears of a change; where nobody polls, never.

        Said anew at each poll: the directory may be another one by now.
        """
        if self.servable.poll_wait_seconds <= 0 or self.servable.refusal:
            return
        stop, name = self._stop_listening, self.servable.name
        self._stop_listening = self._context.storage.notice(
            self.servable.base_path, partial(self._context.poll_soon, name)
        )
        stop()
        if self._is_retired:
            self._stop_listening()

    def _look(self) -> Decision:
        storage = self._context.storage
        clock = self._context.clock

        def read_version(directory: str) -> StoragePath:
            path = self.servable.path_of(directory)
            return storage.locate(path, storage.list_files(path))

        snapshot = Snapshot(
            self._list_children(),
            read_version,
            clock.monotonic(),
            clock.time(),
            storage.awaited,
            lambda version: self._context.loaded_revision(ServableId(self.servable.name, version)),
            self._has_forerunner,
        )
        is_asked_for, self._is_asked_for = self._is_asked_for, False
        return decide(
            self.servable,
            snapshot,
            replace(self.state, listed={}) if is_asked_for else self.state,
            versions_always_present=self._context.versions_always_present,
        )

    def _list_children(self) -> list[str]:
        base_path = self.servable.base_path
        if self.servable.refusal:
            raise UnimplementedError(self.servable.refusal)
        try:
            return self._context.storage.list_versions(base_path)
        except NotFoundError as error:
            raise NotFoundError(
                f"Could not find base path {base_path} for servable {self.servable.name} "
                f"with error NOT_FOUND: {error.message}"
            ) from error

    def _tell(self, decision: Decision) -> None:
        with self._telling:
            if self._is_retired:
                return
            previous, self.state = self.state, decision.state
            self.versions = _versions_of(decision)
            held_back = {**self._just_let_go(decision), **decision.held_back}
            self._log_news(decision, previous)
            self._fetch(decision.wanted)
            if self._is_retired:  # while the cache's disk was looked at
                return
            if decision.aspired is not None:
                self._context.target(self.servable.name, decision.aspired)
            self._context.report_held_back(self.servable.name, held_back)

    def _fetch(self, versions: Sequence[StoragePath]) -> None:
        """Have the versions here before the target hears of them."""
        name = self.servable.name
        self._context.storage.fetch(name, versions, partial(self._context.poll_soon, name))

    def _just_let_go(self, decision: Decision) -> dict[int, HeldBack]:
        """Return the versions held back until now that are emitted by this decision, with the
        reasons they had. They are reported once more: the target may take a moment to have them,
        and in between they must not seem gone.
        """
        emitted = {data.id.version for data in decision.aspired or ()}
        return {version: why for version, why in self._held_back.items() if version in emitted}

    # Saying what is new, once…

    def _log_news(self, decision: Decision, previous: PollState) -> None:
        name = self.servable.name
        for warning in decision.warnings:
            if warning not in self._warned:
                _log.warning("%s", warning)
        for version, why in decision.held_back.items():
            known = self._held_back.get(version)
            if known is None or _words(known) != _words(why):
                _log.info("Holding back version %d of servable %s: %s", version, name, _words(why))
        for version in decision.state.mutated - previous.mutated:
            _log.warning(
                "Version %d of servable %s was overwritten after it was loaded. What was loaded "
                "serves on; export under a new number instead",
                version,
                name,
            )
        self._warned, self._held_back = decision.warnings, decision.held_back
        has_changed = decision.state.directories != previous.directories
        for data in decision.aspired or ():
            _log.log(
                logging.INFO if has_changed else logging.DEBUG,
                "Aspiring version for servable %s version %d from path: %s",
                name,
                data.id.version,
                data.data.place if data.data else "",
            )

    def _remember(self, error: Exception) -> None:
        known, self.error = self.error, as_serving_error(error)
        if str(known) != str(self.error):
            _log.error(
                "Polling servable %s failed, its last versions stand: %s",
                self.servable.name,
                self.error,
                exc_info=None if isinstance(error, ServingError) else error,
            )
