"""WorkQueue: what wants attention, each at most once, and when.

Whoever notices something adds the key of what it is about; workers take keys, and what a worker
learned about time (try again later, look again in ten seconds) comes back as an addition with a
delay.
"""

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

_MOST_OUTDATED = 100


class Key(NamedTuple):
    """Names one ModelServer."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a key waits after its nth failure in a row, in seconds: doubled each time, then
    shortened by up to half at random, so that what failed together is not tried together.
    """

    first: float = 1.0
    longest: float = 60.0

    def delay(self, failures: int, chance: float) -> float:
        """The wait after `failures` (≥ 1) failures; `chance` is random within [0, 1)."""
        # 2**30 is far beyond any limit and does not overflow.
        full = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        return full * (1 - chance / 2)


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """`depth` counts the keys that are due and not taken; `oldest_seconds` is how long the first
    of them has been waiting; `delayed` counts those whose time has not come.
    """

    depth: int
    oldest_seconds: float
    delayed: int
    in_work: int


class WorkQueue(Generic[K]):
    """Keys that are due now or later. Not thread-safe: everything happens on the event loop, whose
    clock is the only one used.

    A key is handed to one worker at a time. What is added while its worker is busy waits for
    `done`, so nothing that happened during the work is missed.
    """

    def __init__(
        self, backoff: Backoff | None = None, chance: Callable[[], float] = random.random
    ) -> None:
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._due: dict[K, float] = {}
        self._in_work: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timetable: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    # What others say…

    def add(self, key: K, delay_seconds: float = 0) -> None:
        """Ask for a look at `key` in `delay_seconds`, or earlier where that was asked for."""
        due = self._now() + delay_seconds
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._plan(key)

    def forget(self, key: K) -> None:
        """Drop what is planned for `key`, and the memory of its failures."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    # What workers do…

    async def take(self) -> K:
        """Wait for the next key that is due and that nobody works on; then `done` must follow."""
        while (key := self._next_due()) is None:
            await self._wait()
        self._rouse()
        return key

    def done(self, key: K) -> None:
        """The work on `key` that `take` began is over, and went well."""
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: K, at_least_seconds: float = 0) -> float:
        """The work on `key` is over and must be repeated; returns in how many seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(at_least_seconds, self._backoff.delay(failures, self._chance()))
        self._release(key)
        self.add(key, delay)
        return delay

    # What there is to see…

    @property
    def statistics(self) -> QueueStatistics:
        """A snapshot."""
        now = self._now()
        waits = [now - due for key, due in self._due.items() if key not in self._in_work]
        late = [wait for wait in waits if wait >= 0]
        return QueueStatistics(
            depth=len(late),
            oldest_seconds=max(late, default=0.0),
            delayed=len(waits) - len(late),
            in_work=len(self._in_work),
        )

    def __contains__(self, key: K) -> bool:
        return key in self._due or key in self._in_work

    # How…

    def _release(self, key: K) -> None:
        self._in_work.discard(key)
        if key in self._due:
            self._plan(key)

    def _next_due(self) -> K | None:
        now = self._now()
        while self._timetable and self._timetable[0][0] <= now:
            due, _, key = heapq.heappop(self._timetable)
            # An entry counts only if it is the key's current plan: plans are changed by adding.
            if self._due.get(key) == due and key not in self._in_work:
                del self._due[key]
                self._in_work.add(key)
                return key
        return None

    def _plan(self, key: K) -> None:
        if len(self._timetable) > 2 * len(self._due) + _MOST_OUTDATED:
            self._drop_outdated()
        heapq.heappush(self._timetable, (self._due[key], next(self._order), key))
        self._rouse()

    def _drop_outdated(self) -> None:
        """A key that is busy leaves a plan for the distant future behind each time."""
        self._timetable = [plan for plan in self._timetable if self._due.get(plan[2]) == plan[0]]
        heapq.heapify(self._timetable)

    # Waiting: one worker is woken for each key, not all of them for every key.

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._rouse()
        try:
            await waiter
        except asyncio.CancelledError:
            # It may have been woken for a key, which is somebody else's now.
            self._rouse()
            raise

    def _rouse(self) -> None:
        """Wake one worker if something is due; else see to it that one is woken when it is."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._timetable:
            return
        due = self._timetable[0][0]
        if due > self._now():
            self._alarm = asyncio.get_running_loop().call_at(due, self._rouse)
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
