"""CallQueue: the calls between a transport's network side and the thread that serves them."""

import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from modelserver.clock import Clock
from modelserver.histogram import SECONDS, Histogram
from modelserver.rpc.transport.base import Answer, Calls, StatusCode, TransportStats

SlotT = TypeVar("SlotT")

_DEADLINE_SLACK_SECONDS = 0.01
"""A client gives up at its own deadline, which is earlier than ours by the time that the call took
to arrive, and by what it rounds a time-out up."""


class CallQueue(Generic[SlotT]):
    """Hands accepted calls over as lists and decides who settles each one, once. Thread-safe.

    The part of the `Transport` contract that has nothing to do with a network. The network side
    calls `accept` with a slot, whatever it needs later to answer that call, and `abandon` when the
    client no longer waits; answers `claim` the slots. A call belongs to whoever takes it out of the
    table first, so a late or double reply finds nothing and is counted. Ids are never used twice.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._slots: dict[int, _Slot[SlotT]] = {}
        self._last_id = 0
        self._last_id_taken = 0
        self._arrived = _Arrived()
        self._waiting_since = 0.0
        self._is_closed = False
        self._eventfd: int | None = None
        self._replied = self._failed = self._cancelled = self._dropped_replies = 0
        self._endings: defaultdict[int, _Endings] = defaultdict(_Endings)

    def accept(self, method: int, body: bytes, deadline: float | None, slot: SlotT) -> int:
        """Queue a call. Returns its id."""
        now = self._clock.monotonic()
        with self._changed:
            if not self._arrived.ids:  # news of cancelled calls may be there already
                self._waiting_since = now
            self._wake_if_idle()
            self._last_id += 1
            self._slots[self._last_id] = (slot, method, now, deadline)
            self._arrived.add(self._last_id, method, body, deadline)
            return self._last_id

    def abandon(self, id: int) -> SlotT | None:
        """Take a call whose client stopped waiting. None when an answer was first."""
        with self._changed:
            entry = self._slots.pop(id, None)
            if entry is None:
                return None
            self._cancelled += 1
            self._count_abandoned(entry, self._clock.monotonic())
            if id <= self._last_id_taken:
                self._wake_if_idle()
                self._arrived.cancelled.append(id)
            return entry[0]

    def claim(self, ids: Sequence[int], answers: Sequence[Answer]) -> list[tuple[SlotT, Answer]]:
        """Take the calls that still want their answer, each beside it, in the order given."""
        with self._changed:
            return self._claim(ids, answers)

    def claim_rest(self, answer: Answer) -> list[tuple[SlotT, Answer]]:
        """Take every call that is left, to give it this answer. Those not handed out never are."""
        with self._changed:
            rest = list(self._slots)
            self._wake_if_idle()
            self._arrived.cancelled.extend(id for id in rest if id <= self._last_id_taken)
            return self._claim(rest, [answer] * len(rest))

    def take(self, timeout: float | None) -> Calls | None:
        """Hand over what has arrived, as `Transport.next_calls` promises."""
        with self._changed:
            self._wait_for_arrival(timeout)
            arrived, self._arrived = self._arrived, _Arrived()
            self._last_id_taken = self._last_id
            if arrived.is_empty and self._is_closed:
                return None
            return arrived.calls(self._slots)

    def alive(self, ids: Sequence[int]) -> list[bool]:
        """Which calls nobody has taken yet, and whose deadline has not passed."""
        with self._changed:
            now = self._clock.monotonic()
            return [self._is_alive(id, now) for id in ids]

    def close(self) -> None:
        """Nothing more will come: `take` returns None from here on."""
        with self._changed:
            self._is_closed = True
            self._wake()

    def fileno(self) -> int:
        """The eventfd of `Transport.fileno`, made at the first call, closed with this object."""
        with self._changed:
            if self._eventfd is None:
                has_news = self._is_closed or not self._arrived.is_empty
                self._eventfd = os.eventfd(int(has_news), os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                weakref.finalize(self, os.close, self._eventfd)
            return self._eventfd

    def stats(self) -> TransportStats:
        """Counters since construction."""
        with self._changed:
            is_idle = not self._arrived.ids
            return TransportStats(
                accepted=self._last_id,
                replied=self._replied,
                failed=self._failed,
                cancelled=self._cancelled,
                dropped_replies=self._dropped_replies,
                in_flight=len(self._slots),
                oldest_waiting_seconds=0.0 if is_idle else self._waiting_seconds(),
                codes={
                    (method, StatusCode(code)): count
                    for method, endings in self._endings.items()
                    for code, count in enumerate(endings.codes)
                    if count
                },
                seconds={m: endings.seconds.snapshot() for m, endings in self._endings.items()},
            )

    def _is_alive(self, id: int, now: float) -> bool:
        entry = self._slots.get(id)
        return entry is not None and (entry[3] is None or entry[3] > now)

    def _waiting_seconds(self) -> float:
        return self._clock.monotonic() - self._waiting_since

    def _claim(self, ids: Sequence[int], answers: Sequence[Answer]) -> list[tuple[SlotT, Answer]]:
        claimed = []
        now = self._clock.monotonic()
        for id, answer in zip(ids, answers, strict=True):
            entry = self._slots.pop(id, None)
            if entry is None:
                self._dropped_replies += 1
                continue
            slot, method, accepted_at, _ = entry
            claimed.append((slot, answer))
            if isinstance(answer, bytes):
                self._replied += 1
                self._endings[method].add(0, now - accepted_at)
            else:
                self._failed += 1
                self._endings[method].add(answer[0], now - accepted_at)
        return claimed

    def _count_abandoned(self, entry: "_Slot[SlotT]", now: float) -> None:
        _, method, accepted_at, deadline = entry
        is_late = deadline is not None and deadline <= now + _DEADLINE_SLACK_SECONDS
        code = StatusCode.DEADLINE_EXCEEDED if is_late else StatusCode.CANCELLED
        self._endings[method].add(code, now - accepted_at)

    def _wake_if_idle(self) -> None:
        # Whoever takes, takes everything: only the first arrival has to wake anyone.
        if self._arrived.is_empty:
            self._wake()

    def _wake(self) -> None:
        self._changed.notify_all()
        if self._eventfd is not None:
            os.eventfd_write(self._eventfd, 1)

    def _wait_for_arrival(self, timeout: float | None) -> None:
        until = None if timeout is None else self._clock.monotonic() + timeout
        while self._arrived.is_empty and not self._is_closed:
            remaining = None if until is None else until - self._clock.monotonic()
            if remaining is not None and remaining <= 0:
                return
            self._clock.wait(self._changed, remaining)


_Slot: TypeAlias = tuple[SlotT, int, float, float | None]
"""A call that wants its answer: the network side's part, the method, when it was accepted, and its
deadline. A tuple, because there is one for each call."""


class _Endings:
    """How the calls of one method ended: how often with each code, and after how long."""

    __slots__ = ("codes", "seconds")

    def __init__(self) -> None:
        self.codes = [0] * len(StatusCode)
        self.seconds = Histogram(SECONDS)

    def add(self, code: int, seconds: float) -> None:
        self.codes[code] += 1
        self.seconds.add(seconds)


@dataclass(slots=True)
class _Arrived:
    """What `take` hands over next, as it grows."""

    ids: list[int] = field(default_factory=list)
    methods: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    deadlines: list[float | None] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    has_deadlines: bool = False

    @property
    def is_empty(self) -> bool:
        return not self.ids and not self.cancelled

    def add(self, id: int, method: int, body: bytes, deadline: float | None) -> None:
        self.ids.append(id)
        self.methods.append(method)
        self.bodies.append(body)
        self.deadlines.append(deadline)
        if deadline is not None:
            self.has_deadlines = True

    def calls(self, wanted: Container[int]) -> Calls:
        """The calls that still want an answer: some may have been abandoned while they waited."""
        kept = [index for index, id in enumerate(self.ids) if id in wanted]
        if len(kept) < len(self.ids):
            self.ids = [self.ids[index] for index in kept]
            self.methods = [self.methods[index] for index in kept]
            self.bodies = [self.bodies[index] for index in kept]
            self.deadlines = [self.deadlines[index] for index in kept]
        deadlines = self.deadlines if self.has_deadlines else None
        return Calls(self.ids, self.methods, self.bodies, deadlines, self.cancelled)
