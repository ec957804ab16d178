"""ServableWatch: polls one servable, the thin shell around `decide`."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from modelserver.clock import Clock
from modelserver.core.source import Target
from modelserver.core.storage_path import StoragePath
from modelserver.errors import (
    NotFoundError,
    ServingError,
    UnavailableError,
    UnimplementedError,
    as_serving_error,
)
from modelserver.sources.decision import Decision, PollState, Snapshot, decide
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.storage.base import Storage

_log = logging.getLogger(__name__)

HANGS_AFTER_SECONDS = 20.0
"""A poll that takes longer counts as one that gets no answer."""

HeldBackReport: TypeAlias = Callable[[str, Mapping[int, str]], None]
"""Receives, after each poll of a servable, every version of it that is held back with the reason.
Thread-safe and quick."""


@dataclass(frozen=True, slots=True)
class WatchContext:
    """What all watches of one source share: where they look, and whom they tell."""

    storage: Storage
    clock: Clock
    target: Target[StoragePath]
    report_held_back: HeldBackReport
    versions_always_present: bool


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Whether a base path can be looked at.

    `is_accessible` is None before the first poll has ended. `error` says why it is not; `warnings`
    what the last poll that succeeded looked for in vain. It `finds_nothing` where that saw neither
    a version to aspire nor one to hold back.
    """

    is_accessible: bool | None = None
    error: ServingError | None = None
    warnings: tuple[str, ...] = ()
    finds_nothing: bool = False


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

    def __init__(self, servable: MonitoredServable, context: WatchContext) -> None:
        self.servable = servable
        self.state = PollState()
        self.error: ServingError | None = None
        """Why the last poll came to nothing; None after one that succeeded."""
        self._context = context
        self._has_polled = False
        self._poll_began: float | None = None
        self._warned: tuple[str, ...] = ()
        self._held_back: Mapping[int, str] = {}
        self._telling = threading.Lock()
        self._is_retired = False

    def poll(self) -> None:
        """Look once. Never raises: whatever goes wrong is logged when it is news, and the last list
        stands.
        """
        self._poll_began = self._context.clock.monotonic()
        try:
            self._tell(self._look())
        except Exception as error:  # storage, platform and target are plug-ins
            self._remember(error)
        else:
            self.error = None
        self._has_polled = True
        self._poll_began = None

    @property
    def status(self) -> SourceStatus:
        """What is known of the base path now."""
        began, now = self._poll_began, self._context.clock.monotonic()
        if began is not None and now - began >= HANGS_AFTER_SECONDS:
            return SourceStatus(is_accessible=False, error=_hangs(self.servable.base_path))
        if self.error is not None:
            return SourceStatus(is_accessible=False, error=self.error)
        if not self._has_polled:
            return SourceStatus()
        finds_nothing = not (self.state.aspired or self._held_back)
        return SourceStatus(True, warnings=self._warned, finds_nothing=finds_nothing)

    def retire(self) -> None:
        """Tell the target nothing more. Waits for a call to it that is under way."""
        with self._telling:
            self._is_retired = True

    def succeed(self, predecessor: "ServableWatch") -> None:
        """Take over what a retired watch of the same place knew. Before the first poll."""
        self.state, self.error = predecessor.state, predecessor.error
        self._has_polled = predecessor._has_polled
        self._warned, self._held_back = predecessor._warned, predecessor._held_back

    def _look(self) -> Decision:
        storage = self._context.storage
        clock = self._context.clock

        def read_version(directory: str) -> StoragePath:
            path = self.servable.path_of(directory)
            return storage.fetch(path, storage.list_files(path))

        now, wall_time = clock.monotonic(), clock.time()
        snapshot = Snapshot(self._list_children(), read_version, now, wall_time)
        return decide(
            self.servable,
            snapshot,
            self.state,
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
            held_back = {**self._just_let_go(decision), **decision.held_back}
            self._log_news(decision, previous)
            if decision.aspired is not None:
                self._context.target(self.servable.name, decision.aspired)
            self._context.report_held_back(self.servable.name, held_back)

    def _just_let_go(self, decision: Decision) -> dict[int, str]:
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
        for version, reason in decision.held_back.items():
            if self._held_back.get(version) != reason:
                _log.info("Holding back version %d of servable %s: %s", version, name, reason)
        self._warned, self._held_back = decision.warnings, decision.held_back
        has_changed = decision.state.directories != previous.directories
        for data in decision.aspired or ():
            _log.log(
                logging.INFO if has_changed else logging.DEBUG,
                "Aspiring version for servable %s version %d from path: %s",
                name,
                data.id.version,
                data.data.path if data.data else "",
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
