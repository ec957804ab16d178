"""The operator's own HTTP port: probes and metrics. It runs apart from all work, so that a replica
that only waits for leadership answers, too.
"""

import html
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    body: bytes
    status: int = 200
    content_type: str = TEXT


def probe(troubles: list[str], when_fine: str = "ok") -> Page:
    """The answer of a probe: one trouble a line with 503, or that all is fine."""
    if troubles:
        return Page("".join(f"{trouble}\n" for trouble in troubles).encode(), 503)
    return Page(f"{when_fine}\n".encode())


@asynccontextmanager
async def serve(
    host: str, port: int, pages: Mapping[str, Callable[[], Page]]
) -> AsyncIterator[int]:
    """Answer GET and HEAD on `pages`, made anew for each request, and yield the port.

    An empty `host` is every address of the machine, port 0 any free port.

    Raises:
        OSError: the port is taken, or may not be used.

    """
    application = web.Application()
    for path, make in pages.items():
        application.router.add_get(path, _handler(make))
    application.router.add_get("/", _handler(lambda: _index(pages)))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _handler(
    make: Callable[[], Page],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        page = make()
        headers = {"Content-Type": page.content_type, "Cache-Control": "no-store"}
        return web.Response(body=page.body, status=page.status, headers=headers)

    return handle


def _index(pages: Mapping[str, Callable[[], Page]]) -> Page:
    links = "".join(f'<li><a href="{path}">{html.escape(path)}</a>' for path in pages)
    body = f"<!doctype html><title>modelserver-operator</title><ul>{links}</ul>\n"
    return Page(body.encode(), content_type="text/html; charset=utf-8")
