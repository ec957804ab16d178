"""A proxy before an emulator of Cloud Storage: what the emulator does not do, and faults on demand.

faults.inject(Status(503), kind="list", times=2)
faults.inject(Truncate(after=1000), kind="read", under="models/m/7/")
faults.heal()
assert [request.kind for request in faults.requests()] == ["list", "list"]
"""

import socketserver
import threading
import traceback
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

from testcluster.errors import ClusterError
from testcluster.faults import Fault, Injection, Script, matcher
from testcluster.gcs_emulator import GcsEmulator
from testcluster.gcs_listing import LARGEST_PAGE
from testcluster.gcs_relay import Relay, Surroundings
from testcluster.gcs_requests import GcsRequest, Kind, RequestRecord
from testcluster.gcs_upstream import OpenSockets

_POLL_SECONDS = 0.02
_END_SECONDS = 30.0


class FaultProxy:
    """Answers as Cloud Storage does, with the emulator's buckets, at `url`. Thread-safe; any number
    of clients, whose connections are kept alive. Bodies of reads pass through without being held.

    Beyond the emulator it heeds `ifGenerationMatch` of reads, metadata and deletions, and `fields`,
    and lists no more than `page_size` names at once. It speaks the JSON API only. What goes wrong
    in the proxy itself, `close` raises.
    """

    def __init__(
        self, emulator: GcsEmulator, host: str = "127.0.0.1", page_size: int = LARGEST_PAGE
    ) -> None:
        self._script = Script()
        self._record = RequestRecord()
        self._sockets = OpenSockets()
        self._server = _Server(
            host, Surroundings(emulator, self._script, self._record, self._sockets, page_size)
        )
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="gcs-faults", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def inject(
        self,
        fault: Fault,
        *,
        kind: Kind | None = None,
        under: str = "",
        when: Callable[[GcsRequest], bool] = lambda request: True,
        times: int | None = None,
    ) -> Injection:
        """Let the fault meet the next `times` requests that match, or all until it is healed.

        `kind` None is all kinds, `under` is how the object's name or the list's prefix begins. Only
        where a fault changes something it meets a request, and counts: Truncate(after=1000) passes
        over shorter bodies and over errors.
        """
        injection = Injection(fault, matcher(kind, under, when), times)
        self._script.add(injection)
        return injection

    def heal(self) -> None:
        """End all faults; what they hold back goes on."""
        self._script.heal()

    def requests(self) -> list[GcsRequest]:
        """All requests so far, in the order of their arrival, each as it stands now."""
        return self._record.requests()

    def clear(self) -> None:
        """Forget the requests so far."""
        self._record.clear()

    def connections(self) -> int:
        """How many clients are connected."""
        return self._server.connections()

    def close(self) -> None:
        """End all connections and threads. ClusterError if something went wrong in one of them."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._sockets.shut()
        self._script.heal()
        self._server.join()


class _Server(socketserver.ThreadingTCPServer):
    """Accepts connections, each served by a Relay on its thread."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, surroundings: Surroundings) -> None:
        self._sockets = surroundings.sockets
        self._serving: set[threading.Thread] = set()
        self._failures: list[str] = []
        super().__init__((host, 0), partial(Relay, surroundings))

    # The base's way to wait for threads would let a forgotten proxy keep the process from ending.
    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        self._serving = {old for old in self._serving if old.is_alive()} | {thread}
        self._sockets.add(request)
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        self._sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        self._failures.append(traceback.format_exc())

    def connections(self) -> int:
        return sum(thread.is_alive() for thread in self._serving)

    def join(self) -> None:
        """Wait until all connections have ended; ClusterError with what went wrong in them."""
        for thread in self._serving:
            thread.join(_END_SECONDS)
        if any(thread.is_alive() for thread in self._serving):
            raise ClusterError(f"A connection of the fault proxy does not end in {_END_SECONDS} s")
        if self._failures:
            raise ClusterError("The fault proxy failed:\n" + "\n".join(self._failures))
