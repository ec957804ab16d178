"""What the HTTP client makes of pods that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from modelserver_operator.admin_client import Answer, PodUnreachableError, open_admin_client

pytestmark = pytest.mark.asyncio

IP = "127.0.0.1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def pod(handler: Handler) -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_get("/{path:.*}", handler)
    # A handler that hangs ends when its client has gone.
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, IP, 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def fetch(handler: Handler, timeout_seconds: float = 20) -> bytes | None:
    async with pod(handler) as port, open_admin_client(timeout_seconds, port) as client:
        return (await client.fetch(IP, "")).body


async def test_a_pod_that_does_not_answer_in_time_is_unreachable() -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(PodUnreachableError, match="in time"):
        await fetch(hang, timeout_seconds=0.1)


async def test_an_error_of_the_pod_is_told_with_its_status() -> None:
    async def fail(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    with pytest.raises(PodUnreachableError, match="HTTP 503"):
        await fetch(fail)


async def test_a_redirect_is_not_followed() -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        assert request.path == "/status", "the client went where the pod sent it"
        raise web.HTTPFound("/elsewhere")

    with pytest.raises(PodUnreachableError, match="HTTP 302"):
        await fetch(redirect)


async def test_a_report_that_never_ends_is_cut_off() -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    with pytest.raises(PodUnreachableError, match="larger than 1 MiB"):
        await fetch(flood)


async def test_a_compressed_report_is_not_unpacked() -> None:
    async def bomb(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"small", headers={"Content-Encoding": "gzip"})

    assert await fetch(bomb) == b"small"


async def test_a_connection_is_used_again() -> None:
    peers = set()

    async def note_peer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(body=b"{}")

    async with pod(note_peer) as port, open_admin_client(20, port) as client:
        for _ in range(5):
            await client.fetch(IP, "")

    assert len(peers) == 1


async def test_an_etag_that_could_not_be_sent_back_is_dropped() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"{}", headers={"ETag": "\N{SNOWMAN}"})

    async with pod(handler) as port, open_admin_client(20, port) as client:
        answer = await client.fetch(IP, "")

    assert answer == Answer(b"{}", "")
