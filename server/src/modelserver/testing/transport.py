"""MemoryTransport: calls and answers without a network."""

import threading
from collections.abc import Callable, Iterable, Sequence

from modelserver.clock import Clock, SystemClock
from modelserver.rpc.transport.base import (
    Answer,
    Calls,
    StatusCode,
    TransportStats,
)
from modelserver.rpc.transport.call_queue import CallQueue
from modelserver.rpc.transport.options import TlsCredentials
from modelserver.rpc.transport.pieces import PiecesInPython

_CANCELLED = (StatusCode.CANCELLED, "Cancelled by the client.")
_DEADLINE_EXCEEDED = (StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
_METHOD_NOT_FOUND = (StatusCode.UNIMPLEMENTED, "Method not found!")
_SHUTTING_DOWN = (StatusCode.UNAVAILABLE, "The server is shutting down.")


class MemoryCall:
    """A call that a test has begun. Thread-safe."""

    def __init__(self, clock: Clock, deadline: float | None) -> None:
        self._clock = clock
        self._deadline = deadline
        self._settled = threading.Condition()
        self._answer: Answer | None = None
        self._give_up: Callable[[Answer], None] = self.settle

    def answer(self) -> Answer:
        """The reply's body, or the code and message in its place. Waits for it, or for the
        deadline, which passes on the transport's clock.
        """
        answer = self._wait(self._deadline)
        if answer is None:
            self._give_up(_DEADLINE_EXCEEDED)
            answer = self._wait(None)
        assert answer is not None
        return answer

    def cancel(self) -> None:
        """Hang up, as a client that wants no answer any more."""
        self._give_up(_CANCELLED)

    def settle(self, answer: Answer) -> None:
        """Record the answer, unless another was first. The transport's side."""
        with self._settled:
            if self._answer is None:
                self._answer = answer
            self._settled.notify_all()

    def accepted(self, give_up: Callable[[Answer], None]) -> None:
        """Say how to withdraw it: settle it with this answer unless another was first. The
        transport's side.
        """
        self._give_up = give_up

    def _wait(self, deadline: float | None) -> Answer | None:
        with self._settled:
            while self._answer is None:
                left = None if deadline is None else deadline - self._clock.monotonic()
                if left is not None and left <= 0:
                    break
                self._clock.wait(self._settled, left)
            return self._answer


class MemoryTransport(PiecesInPython):
    """A `Transport` whose client is the test: `call`, or `begin` and then `MemoryCall.answer`.

    Useful for testing services without sockets, on the clock that the test owns. `serving` is what
    health would say; health and reflection themselves are not offered. A deadline is noticed by
    whoever waits for the answer. What waits for `uncork` waits as long as that takes.
    """

    def __init__(self, methods: Iterable[str], clock: Clock | None = None) -> None:
        self.serving: dict[str, bool] = {"": True}
        self.tls: TlsCredentials | None = None
        self._clock = clock or SystemClock()
        self._methods = {method: index for index, method in enumerate(methods)}
        self._queue: CallQueue[MemoryCall] = CallQueue(self._clock)
        self._changed = threading.Condition()
        self._is_accepting = False
        self._is_corked = False
        self._held_back: list[tuple[MemoryCall, Answer]] = []

    drains = True

    # The client's side

    def call(self, method: str, body: bytes, deadline: float | None = None) -> Answer:
        """Make a call and wait for its answer. `deadline` is on the clock's monotonic scale."""
        return self.begin(method, body, deadline).answer()

    def begin(self, method: str, body: bytes, deadline: float | None = None) -> MemoryCall:
        """Make a call and return at once."""
        call = MemoryCall(self._clock, deadline)
        index = self._methods.get(method)
        with self._changed:
            if not self._is_accepting:
                call.settle(_SHUTTING_DOWN)
            elif index is None:
                call.settle(_METHOD_NOT_FOUND)
            else:
                id = self._queue.accept(index, body, deadline, call)
                call.accepted(lambda answer: self._abandon(id, answer))
        return call

    # The server's side

    def start(self) -> int:
        """Accept calls. There is no port: returns 0."""
        self._is_accepting = True
        return 0

    def stop(self, grace: float) -> bool:
        """Drain and close, as `Transport.stop`."""
        with self._changed:
            self._is_accepting = False
            until = self._clock.monotonic() + grace
            while self.stats().in_flight and (left := until - self._clock.monotonic()) > 0:
                self._clock.wait(self._changed, left)
        rest = self._queue.claim_rest(_SHUTTING_DOWN)
        self.uncork()
        self._settle(rest)
        self._queue.close()
        return not rest

    def next_calls(self, timeout: float | None) -> Calls | None:
        """All calls that have arrived, as `Transport.next_calls`."""
        return self._queue.take(timeout)

    def reply_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
        """Answer several calls, as `Transport.reply_many`."""
        claimed = self._queue.claim(ids, answers)
        with self._changed:
            if self._is_corked:
                self._held_back += claimed
                return
        self._settle(claimed)

    def cork(self) -> None:
        """Let answers wait for each other, as `Transport.cork`."""
        with self._changed:
            self._is_corked = True

    def uncork(self) -> None:
        """Send those that wait, as `Transport.uncork`."""
        with self._changed:
            self._is_corked = False
            held_back, self._held_back = self._held_back, []
        if held_back:
            self._settle(held_back)

    def alive(self, ids: Sequence[int]) -> list[bool]:
        """Which calls still want an answer, as `Transport.alive`."""
        return self._queue.alive(ids)

    def set_serving(self, service: str, serving: bool | None) -> None:
        """Record it in `serving`, where None removes the name."""
        if serving is None:
            self.serving.pop(service, None)
        else:
            self.serving[service] = serving

    def set_tls(self, credentials: TlsCredentials) -> None:
        """Remember them in `tls`: there is nothing to encrypt."""
        self.tls = credentials

    def ping(self, answer: Callable[[], None]) -> None:
        """Call `answer` before returning."""
        answer()

    def fileno(self) -> int:
        """An eventfd that is readable when calls wait, as `Transport.fileno`."""
        return self._queue.fileno()

    def stats(self) -> TransportStats:
        """Counters since start."""
        return self._queue.stats()

    def _abandon(self, id: int, answer: Answer) -> None:
        call = self._queue.abandon(id)
        if call is not None:
            self._settle([(call, answer)])

    def _settle(self, claimed: Iterable[tuple[MemoryCall, Answer]]) -> None:
        for call, answer in claimed:
            call.settle(answer)
        with self._changed:
            self._changed.notify_all()
