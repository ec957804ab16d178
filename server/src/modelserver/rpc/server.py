"""RpcServer: takes calls off a transport and gives them to services."""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence

from modelserver.clock import SystemClock
from modelserver.rpc.replies import Replies
from modelserver.rpc.serve_turn import ServeTurn
from modelserver.rpc.service import Handler, MethodCalls, Service, Work
from modelserver.rpc.status import error_answer
from modelserver.rpc.transport.base import Calls, Transport

_logger = logging.getLogger(__name__)

_NO_CALLS = Calls([], [], [], None, [])

_END_SECONDS = 1.0
"""How long a thread may take to notice that there are no more calls."""


class RpcServer:
    """Serves `services` on a transport that was built with `method_names(services)`.

        transport = GrpcAioTransport("0.0.0.0:8500", method_names(services))
        server = RpcServer(transport, services)
        port = server.start()

    All calls that have arrived reach a handler as one list, and the answers that handlers make at
    once leave as one list. One thread does this; another stands by for when it is stuck in a model.
    `start` and `stop` are for one thread; one start, one stop.
    """

    def __init__(self, transport: Transport, services: Sequence[Service]) -> None:
        self._transport = transport
        self._services = services
        self._handlers: list[Handler] = [
            handler for service in services for handler in service.methods.values()
        ]
        self._turns = ServeTurn(SystemClock())
        self._replies = Replies(transport, lambda: not self._turns.is_other_stuck())
        self._work: deque[Work] = deque()  # of both threads: one does what the other left
        self._threads = [
            threading.Thread(target=self._serve, name=f"rpc-serve-{number}", daemon=True)
            for number in range(2)
        ]

    def start(self) -> int:
        """Accept calls. Returns the port. Raises `UnavailableError` as `Transport.start`."""
        port = self._transport.start()
        for thread in self._threads:
            thread.start()
        return port

    def stop(self, grace: float) -> bool:
        """Drain as `Transport.stop`, and return what it returns, once the threads have ended; one
        that is stuck in a model is left behind.
        """
        is_drained = self._transport.stop(grace)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_END_SECONDS)
        return is_drained

    def _serve(self) -> None:
        while (turn := self._turns.wait()) is not None:
            self._serve_for(turn)

    def _serve_for(self, turn: int) -> None:
        """Serve until the other thread has taken over, or the transport has stopped."""
        calls: Calls | None = _NO_CALLS
        while calls is not None:
            self._turns.begin()
            try:
                self._serve_calls(calls)
            except BaseException:  # SystemExit too: nobody else would answer the calls to come
                _logger.exception("Serving some calls failed; serving goes on.")
            if not self._turns.end(turn):
                return
            calls = self._transport.next_calls(None)
        self._turns.close()

    def _serve_calls(self, calls: Calls) -> None:
        if calls.cancelled:
            for service in self._services:
                _cancel(service, calls.cancelled)
        self._replies.collect()
        try:
            for method, method_calls in by_method(calls).items():
                self._work.extend(self._handle(self._handlers[method], method_calls))
                self._replies.flush()
        finally:
            self._replies.end()
        self._do_work()

    def _do_work(self) -> None:
        if len(self._work) > 1:
            self._transport.cork()
        try:
            while self._work:
                self._work.popleft()()
        finally:
            self._transport.uncork()  # also what a thread that is stuck has corked

    def _handle(self, handler: Handler, calls: MethodCalls) -> Iterable[Work]:
        try:
            return handler(calls, self._replies) or ()
        except BaseException as error:
            _logger.exception("A handler failed; its calls are answered with the error.")
            answer = error_answer(error)
            for id in calls.ids:
                self._replies.send(id, answer)
            return ()


def _cancel(service: Service, ids: Sequence[int]) -> None:
    try:
        service.cancel(ids)
    except Exception:
        _logger.exception("A service failed to cancel calls.")


def by_method(calls: Calls) -> dict[int, MethodCalls]:
    """Split calls by method, order kept."""
    ids, methods, bodies, deadlines, _ = calls
    if not methods:
        return {}
    together = MethodCalls(ids, bodies, deadlines)
    if methods.count(methods[0]) == len(methods):  # as a rule
        return {methods[0]: together}
    places: dict[int, list[int]] = {}
    for place, method in enumerate(methods):
        places.setdefault(method, []).append(place)
    return {method: together.of(own) for method, own in places.items()}
