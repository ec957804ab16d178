"""A closed-loop HTTP/1.1 client with keep-alive that checks every answer. Prints JSON.

Each of `--connections` × `--streams` connections has one request outstanding: HTTP/1.1 has no
streams. It runs on one event loop, without an HTTP library, because it shares the processors with
the server that it measures.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from server_process import cpu_seconds

_HEAD = (
    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


@dataclass(slots=True)
class Tally:
    """What has been seen in the measured time."""

    seconds: list[float] = field(default_factory=list)
    failures: int = 0
    is_measuring: bool = False
    is_over: bool = False


class Exchanges:
    """Requests and the answers that they must get, in turn."""

    def __init__(
        self, path: str, requests: Sequence[bytes], answers: Sequence[bytes], tolerance: float
    ) -> None:
        self._requests = [
            _HEAD.format(path=path, length=len(body)).encode() + body for body in requests
        ]
        self._answers = [numbers(body) for body in answers]
        self._tolerance = tolerance
        self._count = count()

    def next(self) -> tuple[int, bytes]:
        """Which exchange is next, and what is sent."""
        index = next(self._count) % len(self._requests)
        return index, self._requests[index]

    def is_right(self, index: int, body: bytes) -> bool:
        """Whether an answer has the numbers that it must have."""
        try:
            got = numbers(body)
        except ValueError:
            return False
        wanted = self._answers[index]
        return len(got) == len(wanted) and all(
            abs(mine - theirs) <= self._tolerance for mine, theirs in zip(got, wanted, strict=True)
        )


class Connection(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, checks it, sends the next."""

    def __init__(self, exchanges: Exchanges, tally: Tally) -> None:
        self._exchanges, self._tally = exchanges, tally
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        status, body = head.split(b"\r\n", 1)[0].split()[1], body_of(head, rest)
        if body is not None:
            self._count(status == b"200" and self._exchanges.is_right(self._index, body))
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._tally.is_over:
            self._tally.failures += 1

    def _send(self) -> None:
        self._received = b""
        if not self._tally.is_over:
            self._index, request = self._exchanges.next()
            self._begin = time.perf_counter()
            self._transport.write(request)

    def _count(self, is_right: bool) -> None:
        if not is_right:
            self._tally.failures += 1
        elif self._tally.is_measuring and not self._tally.is_over:
            self._tally.seconds.append(time.perf_counter() - self._begin)


def body_of(head: bytes, rest: bytes) -> bytes | None:
    """The body, when all of it is there."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return unchunked(rest) if rest.endswith(b"0\r\n\r\n") else None
    length = int(lower.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    return rest if len(rest) >= length else None


def unchunked(rest: bytes) -> bytes:
    """The chunks' content."""
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return body
        body, rest = body + rest[:length], rest[length + 2 :]


def numbers(body: bytes) -> list[float]:
    """All numbers of a JSON document of lists, in order."""
    found: list[float] = []
    rest = [json.loads(body)]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            rest += value.values()
        elif isinstance(value, list):
            rest += value
        else:
            found.append(float(value))
    return found


def exchanges_of(options: argparse.Namespace) -> Exchanges:
    """Read the files."""
    requests, answers = (
        [Path(name).read_bytes() for name in names.split(",")]
        for names in (options.request, options.expect)
    )
    return Exchanges(options.path, requests, answers, options.tolerance)


async def load(options: argparse.Namespace, exchanges: Exchanges) -> dict[str, float]:
    """Warm up, then measure."""
    tally = Tally()
    loop = asyncio.get_running_loop()
    connections = [
        (
            await loop.create_connection(
                lambda: Connection(exchanges, tally), "127.0.0.1", options.port
            )
        )[0]
        for _ in range(options.connections * options.streams)
    ]
    await asyncio.sleep(options.warm_up)
    tally.is_measuring, cpu, begin = True, cpu_seconds(options.pid), time.perf_counter()
    await asyncio.sleep(options.seconds)
    tally.is_over, cpu, elapsed = True, cpu_seconds(options.pid) - cpu, time.perf_counter() - begin
    for connection in connections:
        connection.abort()
    return report(tally, cpu, elapsed)


def report(tally: Tally, cpu: float, elapsed: float) -> dict[str, float]:
    """What is printed; times are in microseconds."""
    ordered = sorted(tally.seconds) or [0.0]
    done = len(tally.seconds)
    return {
        "rps": done / elapsed,
        "p50": ordered[len(ordered) // 2] * 1e6,
        "p99": ordered[int(len(ordered) * 0.99)] * 1e6,
        "failures": tally.failures,
        "cpu": cpu / max(done, 1) * 1e6,
    }


def main(argv: Sequence[str]) -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("port", "pid", "connections", "streams"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("path", "request", "expect"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("seconds", "warm-up", "tolerance"):
        parser.add_argument(f"--{name}", type=float, required=True)
    options = parser.parse_args(argv)
    print(json.dumps(asyncio.run(load(options, exchanges_of(options)))))


if __name__ == "__main__":
    main(sys.argv[1:])
