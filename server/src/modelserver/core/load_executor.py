"""LoadExecutor: the threads that loads and unloads run on; work that hangs does not block them."""

import itertools
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from modelserver.clock import Clock, SystemClock

_log = logging.getLogger(__name__)

STALL_SECONDS = 60.0
"""Work that takes longer gives up its place. Short beside a hang, long beside most loads."""

MAX_LENT_THREADS = 64
"""How many threads are lent at most, so that a storage that is gone does not take ever more."""

_PAUSE_WITHOUT_THREAD_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class _Run:
    """A piece of work with its thread. `number` is no other's at the same time."""

    work: Callable[[], None]
    number: int
    since: float
    thread: threading.Thread = field(init=False)
    is_stalled: bool = False
    has_ended: bool = False


class LoadExecutor:
    """An `Executor` that runs at most `num_threads` (1 or more) pieces of work at a time, in the
    order in which they were submitted, on threads named `<name>_<number>`.

    Work that has run for `STALL_SECONDS` is stalled: that is logged, once, and a thread is lent to
    what waits, up to `MAX_LENT_THREADS`. The stalled work goes on, since a read from a mount that
    has vanished cannot be interrupted; should it end after all, its thread does, too. So work that
    hangs costs the others a minute, and not for ever. The price: slow work may overlap with what
    comes after it. The manager has one for loads and another for unloads, because an unload that
    hangs must not keep the memory of all other versions taken, either.

    Each piece of work has a thread of its own. While there is work, so has the dispatcher, which
    looks out for what stalls; without work there are none. They are no daemons: the interpreter
    waits for work under way, as frameworks crash underneath an interpreter that ends. It waits for
    work that hangs, too; who must end nevertheless ends the process, as `cli` does.

    Thread-safe. Work should not raise; what it raises is logged.
    """

    def __init__(self, num_threads: int, name: str, clock: Clock | None = None) -> None:
        self._num_threads = num_threads
        self._name = name
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._runs: list[_Run] = []
        self._dispatcher: threading.Thread | None = None
        self._is_dispatching = False
        self._is_shut_down = False

    def submit(self, work: Callable[[], None]) -> None:
        """Queue `work`. Raises RuntimeError after `shutdown`."""
        with self._changed:
            if self._is_shut_down:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append(work)  # where the system has no thread now, the next call may
            if not self._is_dispatching:
                self._dispatcher = self._start_thread(self._dispatch, "dispatch")
                self._is_dispatching = True
            self._changed.notify_all()

    def shutdown(self) -> None:
        """Refuse further work, and return when all that was submitted has run and every thread has
        ended.

        It waits for work that hangs, too, without limit: whoever cannot must know first that there
        is none.
        """
        with self._changed:
            self._is_shut_down = True
            dispatcher = self._dispatcher
        if dispatcher is not None:
            dispatcher.join()

    def _start_thread(self, target: Callable[[], None], suffix: object) -> threading.Thread:
        name = f"{self._name}_{suffix}"
        thread = threading.Thread(target=target, name=name, daemon=False)
        thread.start()
        return thread

    # The dispatcher's thread: it alone changes the list of what runs…

    def _dispatch(self) -> None:
        while stalled := self._start_work_until_some_stalls():
            for run in stalled:
                self._warn_of(run)

    def _start_work_until_some_stalls(self) -> list[_Run]:
        """Start what waits as places become free. Returns the work that has stalled since the last
        call, or none once all has ended.
        """
        with self._changed:
            while self._has_work():
                now = self._clock.monotonic()
                stalled = _newly_stalled(self._runs, now)
                for run in stalled:
                    run.is_stalled = True
                wait_seconds = self._start_what_may_run(now)
                if stalled:
                    return stalled
                self._clock.wait(self._changed, wait_seconds)
            self._is_dispatching = False
        return []

    def _has_work(self) -> bool:
        """Let go of work that has ended. Whether any runs or waits."""
        for run in [run for run in self._runs if run.has_ended]:
            run.thread.join()  # it has left the lock: there is hardly anything left for it to do
            self._runs.remove(run)
        return bool(self._runs or self._waiting)

    def _start_what_may_run(self, now: float) -> float:
        """Give work that waits the free places. Returns after how many seconds to look again."""
        while self._waiting and _has_free_place(self._runs, self._num_threads):
            run = _Run(self._waiting[0], _free_number(self._runs), now)
            try:
                run.thread = self._start_thread(partial(self._work, run), run.number)
            except RuntimeError:
                _log.exception("The system has no thread to run %s on; trying again", self._name)
                return _PAUSE_WITHOUT_THREAD_SECONDS
            self._waiting.popleft()
            self._runs.append(run)
        return _seconds_to_next_stall(self._runs, now)

    def _warn_of(self, run: _Run) -> None:
        num_stalled = sum(run.is_stalled for run in self._runs)
        _log.warning(
            "The work on %s_%d, which is that of one version, has not ended for %g s: "
            "does its storage hang? It goes on; others %s",
            self._name,
            run.number,
            self._clock.monotonic() - run.since,
            "no longer wait for it"
            if num_stalled <= MAX_LENT_THREADS
            else f"wait, because {MAX_LENT_THREADS} more hang like this",
        )

    # …and that of each piece of work.

    def _work(self, run: _Run) -> None:
        try:
            run.work()
        except BaseException:  # whatever it is, only this work has failed
            _log.exception("The work on %s_%d failed", self._name, run.number)
        with self._changed:
            run.has_ended = True
            self._changed.notify_all()


def _has_free_place(runs: Collection[_Run], num_threads: int) -> bool:
    num_stalled = sum(run.is_stalled for run in runs)
    return len(runs) < num_threads + min(num_stalled, MAX_LENT_THREADS)


def _free_number(runs: Collection[_Run]) -> int:
    taken = {run.number for run in runs}
    return next(number for number in itertools.count() if number not in taken)


def _newly_stalled(runs: Collection[_Run], now: float) -> list[_Run]:
    return [run for run in runs if not run.is_stalled and now - run.since >= STALL_SECONDS]


def _seconds_to_next_stall(runs: Collection[_Run], now: float) -> float:
    """Infinity where all that runs is stalled already."""
    since = min((run.since for run in runs if not run.is_stalled), default=math.inf)
    return STALL_SECONDS - (now - since)
