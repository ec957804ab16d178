"""AdminServer: the admin port's HTTP side, the only user of aiohttp.

It has a thread and an event loop of its own, and answers from values: no handler waits for anything
but its client. GET and HEAD only; what a client may send is small.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from modelserver.admin.page import build_page
from modelserver.admin.report import Report
from modelserver.errors import UnavailableError

_log = logging.getLogger(__name__)

_MAX_HEADER_BYTES = 8190
_KEEP_ALIVE_SECONDS = 75.0
_CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class AdminPages:
    """What the pages show. Called on the admin thread for each request: quick, never waiting.

    `why_not_live` and `why_not_ready` return one line, empty if all is well. `metrics` returns a
    text of the MIME type `metrics_type`.
    """

    why_not_live: Callable[[], str]
    why_not_ready: Callable[[], str]
    report: Callable[[], Report]
    metrics: Callable[[], bytes]
    metrics_type: str


class AdminServer:
    """Serves `pages` on a port of all interfaces, from `start` to `stop`. For one thread, to be
    started once.
    """

    def __init__(self, port: int, pages: AdminPages) -> None:
        self._port = port
        self._pages = pages
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)
        self._socket: socket.socket | None = None
        self._end: Callable[[], object] | None = None
        self._has_begun = threading.Event()

    def start(self) -> int:
        """Listen. Returns the port, which is another one than was asked for only if that was 0.

        Raises:
            UnavailableError: it is in use.

        """
        self._socket = _listen(self._port)
        self._thread.start()
        self._has_begun.wait()
        return int(self._socket.getsockname()[1])

    def stop(self) -> None:
        """Close the port, and every connection within a second. Further calls do nothing."""
        end, self._end = self._end, None
        if end is not None:
            end()
            self._thread.join()

    # From here on everything runs on the admin thread.

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._has_begun.set()

    async def _serve(self) -> None:
        runner = web.AppRunner(
            self._application(),
            handle_signals=False,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            shutdown_timeout=_CLOSE_SECONDS,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        )
        await runner.setup()
        assert self._socket is not None
        await web.SockSite(runner, self._socket).start()
        is_over = asyncio.Event()
        self._end = partial(asyncio.get_running_loop().call_soon_threadsafe, is_over.set)
        self._has_begun.set()
        await is_over.wait()
        await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=1)
        application.add_routes(
            [
                web.get("/", self._index),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/status", self._status),
                web.get("/metrics", self._metrics),
            ]
        )
        return application

    async def _livez(self, request: web.Request) -> web.Response:
        return _probe_answer(self._pages.why_not_live())

    async def _readyz(self, request: web.Request) -> web.Response:
        return _probe_answer(self._pages.why_not_ready())

    async def _status(self, request: web.Request) -> web.Response:
        report = self._pages.report()
        headers = {"ETag": report.etag, "Cache-Control": "no-cache"}
        if _matches(request.headers.get("If-None-Match", ""), report.etag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=report.body, content_type="application/json", headers=headers)

    async def _metrics(self, request: web.Request) -> web.Response:
        headers = {"Content-Type": self._pages.metrics_type}
        return web.Response(body=self._pages.metrics(), headers=headers)

    async def _index(self, request: web.Request) -> web.Response:
        text = build_page(self._pages.report().document, self._pages.why_not_ready())
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return web.Response(text=text, content_type="text/html", headers=headers)


def _probe_answer(problem: str) -> web.Response:
    return web.Response(status=503 if problem else 200, text=f"{problem or 'ok'}\n")


def _matches(tags: str, etag: str) -> bool:
    """Whether an If-None-Match has `etag`, in the weak comparison that it asks for."""
    return tags.strip() == "*" or etag.removeprefix("W/") in tags


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("0.0.0.0", port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        message = f"Cannot listen on 0.0.0.0:{port} (--admin_port): {error.strerror}"
        raise UnavailableError(message) from error
    return listening
