"""RpcServer: one thread that takes calls off a transport and gives them to services."""

import logging
import threading
from collections.abc import Sequence

from modelserver.rpc.replies import Replies
from modelserver.rpc.service import Handler, MethodCalls, Service
from modelserver.rpc.status import error_answer
from modelserver.rpc.transport.base import Calls, Transport

_logger = logging.getLogger(__name__)


class RpcServer:
    """Serves `services` on a transport that was built with `method_names(services)`.

        transport = GrpcAioTransport("0.0.0.0:8500", method_names(services))
        server = RpcServer(transport, services)
        port = server.start()

    All calls that have arrived reach a handler as one list, and the answers that handlers make at
    once leave as one list. `start` and `stop` are for one thread; one start, one stop.
    """

    def __init__(self, transport: Transport, services: Sequence[Service]) -> None:
        self._transport = transport
        self._services = services
        self._handlers: list[Handler] = [
            handler for service in services for handler in service.methods.values()
        ]
        self._replies = Replies(transport)
        self._thread = threading.Thread(target=self._serve, name="rpc-serve")

    def start(self) -> int:
        """Accept calls. Returns the port. Raises `UnavailableError` as `Transport.start`."""
        port = self._transport.start()
        self._thread.start()
        return port

    def stop(self, grace: float) -> bool:
        """Drain as `Transport.stop`, and return what it returns, once the thread has ended."""
        is_drained = self._transport.stop(grace)
        if self._thread.ident is not None:
            self._thread.join()
        return is_drained

    def _serve(self) -> None:
        while (calls := self._transport.next_calls(None)) is not None:
            try:
                self._serve_calls(calls)
            except BaseException:  # SystemExit too: nobody else would answer the calls to come
                _logger.exception("Serving some calls failed; serving goes on.")

    def _serve_calls(self, calls: Calls) -> None:
        with self._replies.collecting():
            for method, method_calls in by_method(calls).items():
                self._handle(self._handlers[method], method_calls)
        if calls.cancelled:
            for service in self._services:
                _cancel(service, calls.cancelled)

    def _handle(self, handler: Handler, calls: MethodCalls) -> None:
        try:
            handler(calls, self._replies)
        except BaseException as error:
            _logger.exception("A handler failed; its calls are answered with the error.")
            answer = error_answer(error)
            for id in calls.ids:
                self._replies.send(id, answer)


def _cancel(service: Service, ids: Sequence[int]) -> None:
    try:
        service.cancel(ids)
    except Exception:
        _logger.exception("A service failed to cancel calls.")


def by_method(calls: Calls) -> dict[int, MethodCalls]:
    """Split calls by method, order kept."""
    ids, methods, bodies, deadlines, _ = calls
    deadlines = deadlines or [None] * len(ids)
    split: dict[int, MethodCalls] = {}
    for id, method, body, deadline in zip(ids, methods, bodies, deadlines, strict=True):
        own = split.get(method)
        if own is None:
            own = split[method] = MethodCalls([], [], [])
        own.ids.append(id)
        own.bodies.append(body)
        own.deadlines.append(deadline)
    return split
