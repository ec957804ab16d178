"""CallQueue: the calls between a transport's network side and the thread that serves them."""

import os
import threading
import weakref
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from modelserver.clock import Clock
from modelserver.rpc.transport.base import Calls, TransportStats

SlotT = TypeVar("SlotT")


class CallQueue(Generic[SlotT]):
    """Hands accepted calls over as lists and decides who settles each one, once. Thread-safe.

    The part of the `Transport` contract that has nothing to do with a network. The network side
    calls `accept` with a slot, whatever it needs later to answer that call, and `abandon` when the
    client no longer waits; replies `claim` slots. A call belongs to whoever takes it out of the
    table first, so a late or double reply finds nothing and is counted. Ids are never used twice.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._slots: dict[int, SlotT] = {}
        self._next_id = 1
        self._handed_out = 0
        self._arrived = _no_calls()
        self._is_closed = False
        self._eventfd: int | None = None
        self._replied = self._failed = self._cancelled = self._dropped_replies = 0

    def accept(self, method: int, body: bytes, deadline: float | None, slot: SlotT) -> int:
        """Queue a call and return its id."""
        with self._changed:
            id = self._next_id
            self._next_id += 1
            self._slots[id] = slot
            ids, methods, bodies, deadlines, cancelled = self._arrived
            if not ids and not cancelled:
                self._wake()
            ids.append(id)
            methods.append(method)
            bodies.append(body)
            if deadlines is not None:
                deadlines.append(deadline)
            return id

    def abandon(self, id: int) -> SlotT | None:
        """Take a call whose client stopped waiting. None when an answer was first."""
        with self._changed:
            slot = self._slots.pop(id, None)
            if slot is None:
                return None
            self._cancelled += 1
            if id <= self._handed_out:
                if not self._arrived.ids and not self._arrived.cancelled:
                    self._wake()
                self._arrived.cancelled.append(id)
            return slot

    def claim(self, ids: Iterable[int], *, as_failed: int = 0) -> list[SlotT | None]:
        """Take the calls that are about to be answered, `as_failed` of them with an error.

        None stands for a call that wants no answer any more, or has had one.
        """
        with self._changed:
            slots = [self._slots.pop(id, None) for id in ids]
            dropped = sum(slot is None for slot in slots)
            self._dropped_replies += dropped
            self._failed += as_failed
            self._replied += len(slots) - dropped
            if not self._slots:
                self._changed.notify_all()
            return slots

    def claim_all(self) -> list[SlotT]:
        """Take every call that is left. Those not handed out yet never will be."""
        with self._changed:
            slots, self._slots = list(self._slots.values()), {}
            self._failed += len(slots)
            return slots

    def take(self, timeout: float | None) -> Calls | None:
        """Hand over what has arrived, as `Transport.next_calls`."""
        with self._changed:
            self._wait_for_arrival(timeout)
            arrived, self._arrived = self._arrived, _no_calls()
            if self._is_closed:
                return None
            self._handed_out = self._next_id - 1
            return _only(arrived, self._slots)

    def _wait_for_arrival(self, timeout: float | None) -> None:
        until = None if timeout is None else self._clock.monotonic() + timeout
        while not (self._arrived.ids or self._arrived.cancelled or self._is_closed):
            remaining = None if until is None else until - self._clock.monotonic()
            if remaining is not None and remaining <= 0:
                return
            self._clock.wait(self._changed, remaining)
