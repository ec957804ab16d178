"""How many cores one server process can keep busy, and several that share a port. The model's runs
take a fixed time and no processor here, as if each batch thread had a core of its own: what is left
is what the processes themselves need for receiving, batching and answering.

Prints a table and writes it as JSON: rows a second, their share of what the cores could do, and the
processor time a row: of all, and of the threads that serve, move bytes and batch. From these
follows what one process could do at most. Exits with 1 if an answer was missing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import load_generator
from bench_cores_threads import KINDS, ticks_by_kind
from load_generator import GrpcLoad, LoadResult
from machine import machine_facts
from measure import Figure, table
from model_store import Model
from peers.base import SERVERS
from server_process import check_runs, free_ports, running
from wire import PREDICT, PredictWire

CORES = (2, 4, 8, 16, 32, 64)
PROCESSES = (1, 2, 4)
CONNECTIONS = 16
"""Enough for the kernel to give each process some."""
MODEL = Model("m00", "first ten numbers", "numpy")


@dataclass(frozen=True, slots=True)
class Device:
    """What a core does: a batch of so many rows in so many milliseconds."""

    batch: int
    millis: float

    def rows_a_second(self, cores: int) -> float:
        """What so many of them can do."""
        return cores * self.batch / self.millis * 1000


@dataclass(frozen=True, slots=True)
class Case:
    """So many cores, divided among so many processes: a batch thread each."""

    cores: int
    processes: int

    def __str__(self) -> str:
        return f"{self.cores} cores, {self.processes} process{'es' * (self.processes > 1)}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load found, and the microseconds of processor a row by kind of thread."""

    load: LoadResult
    micros: Mapping[str, float]

    @property
    def bound(self) -> float:
        """Rows a second that one process cannot exceed, however many cores there are: one thread
        moves its bytes, and those that serve and batch take turns, because both run Python.
        """
        return 1e6 / max(self.micros["I/O"], self.micros["serve"] + self.micros["batch"])


def main(argv: Sequence[str]) -> int:
    """Run the benchmark. Returns the exit code."""
    options = _parser().parse_args(argv)
    device = Device(options.batch, options.millis)
    cases = [Case(c, p) for c in options.cores for p in options.processes if c % p == 0]
    results: dict[Case, list[Outcome]] = {case: [] for case in cases}
    for number in range(options.rounds):
        for case in cases:
            print(f"[{number + 1}/{options.rounds}] {case}…", file=sys.stderr)
            results[case].append(_measure(device, case, options.seconds))
    figures = [f for case, rounds in results.items() for f in _figures(device, case, rounds)]
    print(table(f"Batches of {device.batch} that take {device.millis:g} ms", figures))
    content = {"machine": machine_facts(), "figures": [figure.as_json() for figure in figures]}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(content, indent=1))
    return int(any(outcome.load.failed for rounds in results.values() for outcome in rounds))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--cores", type=_numbers, default=CORES, help="batch threads in all")
    parser.add_argument("--processes", type=_numbers, default=PROCESSES, help="that share them")
    parser.add_argument("--rounds", type=int, default=3, help="of all of it")
    parser.add_argument("--seconds", type=float, default=3.0, help="each")
    parser.add_argument("--batch", type=int, default=32, help="rows")
    parser.add_argument("--millis", type=float, default=5.0, help="a run")
    parser.add_argument("--json", type=Path, default=Path("out/bench-cores.json"), help="report")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _figures(device: Device, case: Case, rounds: Sequence[Outcome]) -> Iterator[Figure]:
    ideal = device.rows_a_second(case.cores)
    rates = [r.load.rps for r in rounds]
    yield Figure.of(f"{case}: rows", "rows/s", rates)
    yield Figure.of(f"{case}: of {ideal:,.0f}", "×", [rate / ideal for rate in rates])
    yield Figure.of(f"{case}: processor", "µs/row", [r.load.server_cpu or 0 for r in rounds])
    for kind in KINDS.values():
        yield Figure.of(f"{case}: {kind}", "µs/row", [r.micros[kind] for r in rounds])
    yield Figure.of(f"{case}: bound of a process", "rows/s", [r.bound for r in rounds])
    latencies = [r.load.latency.p99 / 1000 for r in rounds if r.load.latency]
    yield Figure.of(f"{case}: p99", "ms", latencies)


def _measure(device: Device, case: Case, seconds: float) -> Outcome:
    """Servers on one port, with two batches for each core outstanding."""
    with tempfile.TemporaryDirectory(prefix="bench-cores-") as name, ExitStack() as servers:
        folder = Path(name)
        row = np.arange(784, dtype=np.float32).reshape(1, 784) + 1
        request = folder / "request"
        request.write_bytes(PredictWire().request(MODEL.name, MODEL, row))
        (port,) = free_ports(1)
        numbers = (port, case.cores // case.processes, device.millis, device.batch)
        command = (sys.executable, str(SERVERS / "device_server.py"), *map(str, numbers))
        logs = [folder / f"log-{number}" for number in range(case.processes)]
        started = {log: servers.enter_context(running(command, {}, log)) for log in logs}
        for log, process in started.items():
            _wait(process, log)
        pids = [process.pid for process in started.values()]
        load = GrpcLoad(
            port,
            PREDICT,
            [request],
            connections=CONNECTIONS,
            streams=max(1, 2 * case.cores * device.batch // CONNECTIONS),
            seconds=seconds,
            pids=pids,
        )
        before = [ticks_by_kind(pid) for pid in pids]
        result = load_generator.run(load)
        after = [ticks_by_kind(pid) for pid in pids]
        return _outcome(result, [late - early for late, early in zip(after, before, strict=True)])


def _outcome(load: LoadResult, used: Sequence[Counter[str]]) -> Outcome:
    """Of the processor's ticks that each process used by kind of thread, warm-up included: what a
    row took without it is known to the load generator.
    """
    together = sum(used, start=Counter[str]())
    scale = (load.server_cpu or 0) / together.total()
    return Outcome(load, {kind: together[kind] * scale for kind in KINDS.values()})


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    while "ready" not in log.read_text():
        check_runs(process, log)
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
