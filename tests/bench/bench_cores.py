"""How many cores one server process can keep busy. The model's runs take a fixed time and no
processor here, as if each batch thread had a core of its own: what is left is what the process
itself needs for receiving, batching and answering.

Prints a table of rows a second and of their share of what the cores could do, and writes it as
JSON. Exits with 1 if an answer was wrong or missing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

import load_generator
from exchange import Caller
from load_generator import GrpcLoad, LoadResult
from machine import machine_facts
from measure import Figure, table
from model_store import Model
from peers.base import SERVERS
from server_process import check_runs, free_ports, running
from wire import PREDICT, PredictWire

THREADS = (2, 4, 8, 16, 32, 64)
MODEL = Model("m00", "first ten numbers", "numpy")


@dataclass(frozen=True, slots=True)
class Device:
    """What a core does: a batch of so many rows in so many milliseconds."""

    batch: int
    millis: float

    def rows_a_second(self, cores: int) -> float:
        """What so many of them can do."""
        return cores * self.batch / self.millis * 1000


def main(argv: Sequence[str]) -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="each (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="rows (default: %(default)s)")
    parser.add_argument("--millis", type=float, default=5.0, help="a run (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("out/bench-cores.json"))
    options = parser.parse_args(argv)
    device = Device(options.batch, options.millis)
    results: dict[int, list[LoadResult]] = {threads: [] for threads in THREADS}
    for number in range(options.rounds):
        for threads in THREADS:
            print(f"[{number + 1}/{options.rounds}] {threads} cores…", file=sys.stderr)
            results[threads].append(_measure(device, threads, options.seconds))
    figures = list(_figures(device, results))
    print(table(f"Batches of {device.batch} that take {device.millis:g} ms", figures))
    content = {"machine": machine_facts(), "figures": [figure.as_json() for figure in figures]}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(content, indent=1))
    return int(any(result.failed for rounds in results.values() for result in rounds))


def _figures(device: Device, results: dict[int, list[LoadResult]]):
    for threads, rounds in results.items():
        name = f"{threads} cores"
        ideal = device.rows_a_second(threads)
        yield Figure.of(f"{name}, rows", "rows/s", [r.rps for r in rounds])
        yield Figure.of(f"{name}, of {ideal:,.0f}", "×", [r.rps / ideal for r in rounds])
        yield Figure.of(f"{name}, processor", "µs/row", [r.server_cpu or 0 for r in rounds])


def _measure(device: Device, threads: int, seconds: float) -> LoadResult:
    """One server, with two batches for each core outstanding."""
    with tempfile.TemporaryDirectory(prefix="bench-cores-") as name:
        folder = Path(name)
        row = np.arange(784, dtype=np.float32).reshape(1, 784) + 1
        request = folder / "request"
        request.write_bytes(PredictWire().request(MODEL.name, MODEL, row))
        (port,) = free_ports(1)
        script = str(SERVERS / "device_server.py")
        numbers = (str(port), str(threads), str(device.millis), str(device.batch))
        log = folder / "log"
        with running((sys.executable, script, *numbers), {}, log) as process:
            _wait(process, port, request.read_bytes(), log)
            return load_generator.run(
                GrpcLoad(
                    port,
                    PREDICT,
                    [request],
                    connections=4,
                    streams=max(1, 2 * threads * device.batch // 4),
                    seconds=seconds,
                    pids=[process.pid],
                )
            )


def _wait(process: subprocess.Popen[bytes], port: int, body: bytes, log: Path) -> None:
    caller = Caller(PredictWire(), port)
    while True:
        check_runs(process, log)
        try:
            caller(PREDICT, body)
        except grpc.RpcError:
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
