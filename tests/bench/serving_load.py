"""Loads, and running one against a server: rate, latency, failures, processor time a request."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import disturbance
import load_generator
from exchange import TOLERANCE, Target
from load_generator import CargoMissingError, GrpcLoad, LoadGeneratorError, Percentiles

WARM_UP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """Requests outstanding: `connections` × `streams`, each sent as soon as one is answered. With a
    `rate` they are sent at so many a second instead (open loop), whatever comes back; `share` is
    the rate as a share of what the same server did in the first closed load of the round. A load
    that `is_disturbed` has others beside it who read metrics and status: modelserver's only.
    """

    name: str
    connections: int
    streams: int
    rate: float | None = None
    share: float | None = None
    is_disturbed: bool = False

    @property
    def is_open(self) -> bool:
        """Whether requests are sent at a rate."""
        return self.rate is not None or self.share is not None


SATURATION = Load("4x32", 4, 32)
DISTURBED = replace(SATURATION, name="disturbed", is_disturbed=True)
FEW = Load("4x4", 4, 4)
"""For requests of up to 4 MB, of which 128 would be half a gigabyte."""

LOADS = {
    load.name: load
    for load in (
        SATURATION,
        DISTURBED,
        Load("1x1", 1, 1),
        Load("64x1", 64, 1),
        Load("half", 4, 32, share=0.5),
        Load("6000/s", 4, 32, rate=6000),
    )
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load found: requests a second, percentiles in microseconds, how many answers were
    wrong or missing, processor time of the server's process tree in microseconds a request.
    """

    rps: float
    p50: float
    p99: float
    failures: int
    cpu: float


class LoadError(Exception):
    """The load generator failed; says why."""


def run(target: Target, load: Load, rate: float | None, seconds: float) -> Outcome:
    """Run `load` after a warm-up. gRPC and HTTP have a client each; both check every answer.

    Raises `LoadError`, and `OSError` where a load is to be disturbed and that does not succeed.
    """
    with disturbance.readers(target.admin_port) if load.is_disturbed else nullcontext():
        if not target.wire.is_grpc:
            return _http(target, load, seconds)
        return _grpc(target, load, rate, seconds)


def _http(target: Target, load: Load, seconds: float) -> Outcome:
    script = Path(__file__).with_name("http_load.py")
    command = [
        *(sys.executable, str(script), f"--port={target.port}", f"--pid={target.pid}"),
        *(f"--path={target.path}", f"--request={_joined(target.requests)}"),
        *(f"--expect={_joined(target.answers)}", f"--tolerance={TOLERANCE}"),
        *(f"--connections={load.connections}", f"--streams={load.streams}"),
        *(f"--seconds={seconds}", f"--warm-up={WARM_UP_SECONDS}"),
    ]
    return Outcome(**_output(command, seconds))


def _joined(files: tuple[Path, ...]) -> str:
    return ",".join(str(file) for file in files)


def _output(command: list[str], seconds: float) -> dict[str, Any]:
    limit = seconds + WARM_UP_SECONDS + 60
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit)
    if done.returncode:
        raise LoadError(" ".join(done.stderr.split())[-300:])
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _grpc(target: Target, load: Load, rate: float | None, seconds: float) -> Outcome:
    """With the load generator of this project."""
    try:
        found = load_generator.run(
            GrpcLoad(
                target.port,
                target.path,
                target.requests,
                target.answers,
                target.tolerances,
                connections=load.connections,
                streams=load.streams,
                seconds=seconds,
                warm_up_seconds=WARM_UP_SECONDS,
                rate=rate,
                tls_ca=target.tls_ca,
                pids=[target.pid],
            )
        )
    except (LoadGeneratorError, CargoMissingError) as error:
        raise LoadError(str(error)) from error
    if found.failed:
        print(f"    failed: {found.failures} {found.examples[:1]}", file=sys.stderr, flush=True)
    latency = found.latency or Percentiles(0, 0, 0, 0, 0, 0)
    return Outcome(found.rps, latency.p50, latency.p99, found.failed, found.server_cpu or 0)
