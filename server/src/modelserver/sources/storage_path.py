"""StoragePathSource: finds the versions of any number of servables by polling a Storage."""

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelserver.clock import Clock, SystemClock
from modelserver.core.source import Target
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.errors import InvalidArgumentError, NotFoundError, ServingError
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.poller import Poller, PollInterval
from modelserver.sources.storage.base import Storage
from modelserver.sources.watch import (
    HeldBackReport,
    LoadedRevision,
    ServableWatch,
    SourceStatus,
    WatchContext,
    nothing_is_known,
)

_log = logging.getLogger(__name__)


def _ignore_held_back(name: str, held_back: Mapping[int, HeldBack]) -> None:
    """Stand in where nobody wants to hear."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A servable with the thread that watches it."""

    watch: ServableWatch
    poller: Poller


class StoragePathSource:
    """A `Source[StoragePath]` that watches the base path of each `MonitoredServable`.

    Every servable has a thread of its own, so a base path that is missing, slow or hanging delays
    no other. Each poll emits the whole list of complete versions that the policy wants; a poll that
    fails emits nothing, and neither does one that finds no version, unless
    `servable_versions_always_present` is False: then everything is unloaded. `report_held_back`
    hears after each poll which versions are seen but not aspired yet, and why. `loaded_revision`
    says what is loaded, so that it can be told when other content takes its place.

    Thread-safe. The target is called from the polling threads; of this source's methods it may call
    `poll_now` only.
    """

    def __init__(
        self,
        storage: Storage,
        servables: Iterable[MonitoredServable],
        *,
        report_held_back: HeldBackReport = _ignore_held_back,
        loaded_revision: LoadedRevision = nothing_is_known,
        servable_versions_always_present: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._storage = storage
        self._loaded_revision = loaded_revision
        self._report_held_back = report_held_back
        self._versions_always_present = servable_versions_always_present
        self._clock = clock or SystemClock()
        self._servables = _by_name(servables)
        self._context: WatchContext | None = None
        self._updating = threading.Lock()
        self._members: dict[str, _Member] = {}

    def set_aspired_versions_callback(self, callback: Target[StoragePath]) -> None:
        """Start polling, and emit to `callback` from here on."""
        with self._updating:
            if self._context is not None:
                _log.error(
                    "set_aspired_versions_callback() called multiple times; ignoring this call"
                )
                return
            self._context = WatchContext(
                self._storage,
                self._clock,
                callback,
                self._report_held_back,
                self._versions_always_present,
                self._loaded_revision,
                self._poll_soon,
            )
            for servable in self._servables.values():
                self._add(servable, self._context, poll_first=False)

    def update_servables(self, servables: Iterable[MonitoredServable]) -> None:
        """Watch exactly `servables` from here on.

        What is new or has changed is polled at once, whatever its `poll_wait_seconds`; what is left
        out gets an empty list, which unloads it; the rest is not disturbed. Where the place of one
        changes (`MonitoredServable.place`), its versions stand until versions are found in the new
        one; of two of the same number, that from the new place is another version.

        Raises:
            InvalidArgumentError: a name is listed twice; nothing has changed.

        """
        wanted = _by_name(servables)
        with self._updating:
            known, self._servables = self._servables, wanted
            if self._context is None:
                return
            for name in known.keys() - wanted.keys():
                self._remove(name, self._context)
            for name, servable in wanted.items():
                if known.get(name) != servable:
                    self._add(servable, self._context, poll_first=True)

    def poll_now(self, name: str) -> None:
        """Have `name` polled soon, whatever its `poll_wait_seconds`. Returns at once.

        Raises:
            NotFoundError: no servable of that name is being watched.

        """
        member = self._members.get(name)
        if member is None:
            raise NotFoundError(f"No servable named {name} is being polled")
        member.watch.relist()
        member.poller.poll_now()

    def next_polls(self) -> dict[str, float]:
        """When (monotonic) each servable is polled next, of those for which that is planned."""
        dues = {name: member.poller.due for name, member in list(self._members.items())}
        return {name: due for name, due in dues.items() if due is not None}

    def errors(self) -> dict[str, ServingError]:
        """Why the last poll came to nothing, for each servable whose last poll did."""
        watches = [member.watch for member in list(self._members.values())]
        return {w.servable.name: w.error for w in watches if w.error is not None}

    def statuses(self) -> dict[str, SourceStatus]:
        """Whether each servable's base path can be looked at, also while a poll hangs there."""
        watches = [member.watch for member in list(self._members.values())]
        return {watch.servable.name: watch.status for watch in watches}

    def versions(self) -> dict[str, Mapping[int, StoragePath]]:
        """Where the versions of each servable are that are aspired, or will be once they are here,
        as they were listed last. Waits for nothing.
        """
        watches = [member.watch for member in list(self._members.values())]
        return {watch.servable.name: watch.versions for watch in watches}

    def stop(self, timeout: float = 5.0) -> bool:
        """Poll no more, and wait up to `timeout` seconds for polls under way to end. Whether they
        have.

        The target hears nothing afterwards: what was aspired stays so. A poll that hangs in its
        storage is left behind; it ends with the process.
        """
        with self._updating:
            members, self._members = list(self._members.values()), {}
            self._context, self._servables = None, {}
        for member in members:
            member.poller.stop()
            member.watch.retire()
        deadline = self._clock.monotonic() + timeout
        return all(m.poller.join(max(deadline - self._clock.monotonic(), 0.0)) for m in members)

    def _poll_soon(self, name: str) -> None:
        member = self._members.get(name)
        if member is not None:
            member.poller.poll_now()

    # One thread for each servable…

    def _add(self, servable: MonitoredServable, context: WatchContext, *, poll_first: bool) -> None:
        """Watch `servable`, in the place of an earlier one of its name if there is one."""
        predecessor = self._retire(servable.name)
        is_moved = predecessor is not None and predecessor.servable.place != servable.place
        watch = ServableWatch(servable, context, has_forerunner=is_moved)
        if predecessor is not None and predecessor.servable.place == servable.place:
            watch.succeed(predecessor)
        elif predecessor is not None:  # what it held back is not what is waited for now
            context.report_held_back(servable.name, {})
        interval = PollInterval(servable.poll_wait_seconds, servable.poll_jitter)
        poller = Poller(servable.name, watch.poll, interval, self._clock)
        self._members[servable.name] = _Member(watch, poller)
        poller.start(poll_first=poll_first)

    def _retire(self, name: str) -> ServableWatch | None:
        """End the watch of that name, if there is one, and return it."""
        member = self._members.get(name)
        if member is None:
            return None
        member.poller.stop()
        member.watch.retire()
        return member.watch

    def _remove(self, name: str, context: WatchContext) -> None:
        member = self._members.pop(name)
        member.poller.stop()
        member.watch.retire()
        context.storage.fetch(name, (), _do_nothing)
        context.target(name, ())
        context.report_held_back(name, {})


def _do_nothing() -> None:
    """Stand in where nothing is fetched that could arrive."""


def _by_name(servables: Iterable[MonitoredServable]) -> dict[str, MonitoredServable]:
    by_name: dict[str, MonitoredServable] = {}
    for servable in servables:
        if servable.name in by_name:
            raise InvalidArgumentError(f"Illegal to monitor servable {servable.name} twice")
        by_name[servable.name] = servable
    return by_name
