"""What a transport costs: calls a second and processor time a call when every call is answered with
its own body, beside a bare grpc.aio server that does the same within its handler.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

import load_generator
from load_generator import CargoMissingError, GrpcLoad, LoadGeneratorError, LoadResult
from measure import Figure, table
from modelserver.rpc.transport.base import Transport
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.rpc.transport.native import NativeTransport, why_not_native
from server_process import check_runs, running

ECHO = "/bench.Texts/Echo"
ADDRESS = "127.0.0.1:0"
BODY = bytes(100)
CONCURRENT_CALLS = (1, 32)
BARE = "bare grpc.aio"


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs, in a process of its own."""

    port: int
    pid: int


def run(rounds: int, seconds: float) -> list[Figure]:
    """Measure each server alone, in turn. Raises as `load_generator.run`, and `LoadGeneratorError`
    for a wrong answer.
    """
    results: dict[tuple[str, int], list[LoadResult]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-transport-") as name, ExitStack() as servers:
        folder = Path(name)
        body = folder / "body"
        body.write_bytes(BODY)
        served = {kind: servers.enter_context(_running(kind, folder)) for kind in _kinds()}
        for _ in range(rounds):
            for count in CONCURRENT_CALLS:
                for kind, server in served.items():
                    result = _measure(server, body, count, seconds)
                    results.setdefault((kind, count), []).append(result)
    return list(_figures(results))


def _kinds() -> list[str]:
    return [kind for kind in _SERVE if kind != "native" or not why_not_native()]


def _measure(server: Served, body: Path, count: int, seconds: float) -> LoadResult:
    load = GrpcLoad(
        server.port,
        ECHO,
        [body],
        [body],
        connections=1,
        streams=count,
        seconds=seconds,
        pids=[server.pid],
    )
    result = load_generator.run(load)
    if result.failed:
        raise LoadGeneratorError(f"{result.failures}: {result.examples}")
    return result


def _figures(results: Mapping[tuple[str, int], list[LoadResult]]) -> Iterator[Figure]:
    for (kind, count), found in results.items():
        name = f"{kind}, {count} at a time"
        bare = results[BARE, count]
        yield Figure.of(name, "calls/s", [result.rps for result in found])
        yield Figure.of(f"{name}, processor", "µs/call", [r.server_cpu or 0 for r in found])
        if kind != BARE:
            shares = [mine.rps / its.rps for mine, its in zip(found, bare, strict=True)]
            yield Figure.of(f"{name}, beside {BARE}", "×", shares)


@contextmanager
def _running(kind: str, folder: Path) -> Iterator[Served]:
    log = folder / f"{kind}.log"
    with running((sys.executable, __file__, f"--serve={kind}"), {}, log) as process:
        yield Served(_port(process, log), process.pid)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    while not (text := log.read_text()).endswith("\n"):
        check_runs(process, log)
    return int(text)


def _serve_bare() -> None:
    async def echo(body: bytes, context: object) -> bytes:
        del context
        return body

    async def serve() -> None:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service, method = ECHO.strip("/").split("/")
        handlers = {method: grpc.unary_unary_rpc_method_handler(echo)}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
        print(server.add_insecure_port(ADDRESS), flush=True)
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


def _echo(transport: Transport) -> None:
    print(transport.start(), flush=True)
    while (calls := transport.next_calls(None)) is not None:
        transport.reply_many(calls.ids, calls.bodies)


_SERVE: Mapping[str, Callable[[], None]] = {
    BARE: _serve_bare,
    "grpc_aio": lambda: _echo(GrpcAioTransport(ADDRESS, [ECHO])),
    "native": lambda: _echo(NativeTransport(ADDRESS, [ECHO])),
}


def main() -> int:
    """Serve in this process, or run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=_SERVE, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each measurement (default: %(default)s)"
    )
    options = parser.parse_args()
    if options.serve:
        _SERVE[options.serve]()
        return 0
    try:
        print(table("transport", run(options.rounds, options.seconds)))
    except (CargoMissingError, LoadGeneratorError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
