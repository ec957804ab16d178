"""FakePods: the admin ports of pods that tests own, in memory or over HTTP."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from modelserver_operator.admin_client import Answer, PodUnreachableError
from modelserver_operator.json_types import JsonObject


@dataclass(slots=True)
class _Pod:
    body: bytes
    etag: str


class FakePods:
    """Pods by address. As an `Admin` it answers for them; `serve` puts one on a real port."""

    def __init__(self) -> None:
        self._pods: dict[str, _Pod] = {}
        self._numbers = 0
        self.fetches: list[tuple[str, str]] = []

    def report(self, ip: str, report: JsonObject) -> None:
        """Let the pod at `ip` give this report from now on."""
        self.answer(ip, json.dumps({"schemaVersion": 1, **report}).encode())

    def answer(self, ip: str, body: bytes) -> None:
        """Let the pod at `ip` answer with exactly this."""
        self._numbers += 1
        self._pods[ip] = _Pod(body, f'W/"{self._numbers}"')

    def silence(self, ip: str) -> None:
        """Let nothing answer at `ip` any more."""
        del self._pods[ip]

    async def fetch(self, ip: str, etag: str) -> Answer:
        """See `Admin`."""
        self.fetches.append((ip, etag))
        pod = self._pods.get(ip)
        if pod is None:
            raise PodUnreachableError(f"http://{ip}:8502/status: connection refused")
        return Answer(None) if etag == pod.etag else Answer(pod.body, pod.etag)

    @asynccontextmanager
    async def serve(self, ip: str, port: int) -> AsyncIterator[int]:
        """Serve what the pod at `ip` says on a real port (0: any), which is yielded."""

        async def status(request: web.Request) -> web.Response:
            pod = self._pods[ip]
            if request.headers.get("If-None-Match") == pod.etag:
                return web.Response(status=304, headers={"ETag": pod.etag})
            return web.Response(body=pod.body, headers={"ETag": pod.etag})

        application = web.Application()
        application.router.add_get("/status", status)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, ip, port)
        try:
            await site.start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()
