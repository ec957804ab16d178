"""AdminClient: asks a pod's admin port for its report, over HTTP.

Pods run what their authors put into them, so an answer is limited in time and size, redirects are
not followed, and nothing compressed is asked for. `modelserver_operator.testing.FakePods` is the
fake.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from yarl import URL

ADMIN_PORT = 8502
_LARGEST_REPORT_BYTES = 256 << 10
_LONGEST_ETAG = 256
_KEEP_ALIVE_SECONDS = 30


class PodUnreachableError(Exception):
    """A pod did not give a usable answer; says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A pod's answer: `body` is None when its report is still the one whose etag was sent."""

    body: bytes | None
    etag: str = ""


class Admin(Protocol):
    """Where reports come from."""

    async def fetch(self, ip: str, etag: str) -> Answer:
        """Ask the pod at `ip`, which last answered with `etag` (empty: never).

        Raises `PodUnreachableError` within the timeout.
        """


class AdminClient:
    """An `Admin` that keeps its connections. Made by `open_admin_client`, which also closes it."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._port = port

    async def fetch(self, ip: str, etag: str) -> Answer:
        """See `Admin`."""
        url = URL.build(scheme="http", host=ip, port=self._port, path="/status")
        headers = {"If-None-Match": etag} if etag else {}
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                return await _answer(response)
        except TimeoutError as error:
            raise PodUnreachableError(f"{url}: no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise PodUnreachableError(f"{url}: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def open_admin_client(
    timeout_seconds: float = 2, port: int = ADMIN_PORT
) -> AsyncIterator[AdminClient]:
    """Make an `AdminClient` whose requests take `timeout_seconds` at most, connecting included."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        headers={"Accept-Encoding": "identity", "User-Agent": "modelserver-operator"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        yield AdminClient(session, port)


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    if response.status == 304:
        return Answer(None)
    if response.status != 200:
        raise PodUnreachableError(f"{response.url}: HTTP {response.status}")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _LARGEST_REPORT_BYTES:
            raise PodUnreachableError(f"{response.url}: the report is larger than 1 MiB")
    return Answer(bytes(body), _sendable(response.headers.get("ETag", "")))


def _sendable(etag: str) -> str:
    """The etag, unless it is none that could be sent back."""
    return etag if len(etag) <= _LONGEST_ETAG and etag.isascii() and etag.isprintable() else ""
