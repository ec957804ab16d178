"""Serve for half an hour and look whether memory grows. Prints the line through the samples, in KiB
a minute, and writes them as JSON. Exits with 1 if an answer was wrong or missing.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import model_store
import serving_load
from exchange import Target, prepare
from machine import machine_facts
from model_store import SOFTMAX
from peers.base import Start
from peers.environment import own_environment
from peers.registry import PEERS
from server_process import free_ports, running
from serving_load import Load

_SAMPLE_SECONDS = 10.0
_SETTLE_SECONDS = 120.0
"""Left out at the beginning: caches fill, threads get their memory."""


def main(argv: Sequence[str]) -> int:
    """Run the soak. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="(default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=2000.0, help="a second (default: %(default)s)"
    )
    parser.add_argument("--peer", default="ours-native", choices=list(PEERS))
    parser.add_argument("--json", type=Path, default=Path("out/bench-soak.json"))
    options = parser.parse_args(argv)
    model_store.make(SOFTMAX)
    with tempfile.TemporaryDirectory(prefix="bench-soak-") as folder:
        return _soak(options, Path(folder))


def _soak(options: argparse.Namespace, folder: Path) -> int:
    peer, log, server_folder = PEERS[options.peer], folder / "log", folder / "server"
    server_folder.mkdir()
    names = tuple(f"m{number:02}" for number in range(peer.model_count))
    start = Start(own_environment(), SOFTMAX, names, server_folder, free_ports(4))
    finish = prepare(SOFTMAX, peer.wire, names, 1, folder)
    command = peer.command(start)
    print(f"{options.rate:,.0f} requests a second for {options.seconds / 60:.0f} minutes…")
    with running(command.arguments, command.variables, log) as process:
        target = finish(process, start.port, log)
        samples, outcome = _load(target, options)
    slope = _slope(samples)
    print(f"Memory: {samples[0][1]} KiB at first, {samples[-1][1]} KiB at last")
    print(f"Slope after {_SETTLE_SECONDS:.0f} s: {slope:+.1f} KiB a minute")
    print(f"{outcome.rps:,.0f} requests a second, {outcome.failures} failures")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine_facts(), "kib_a_minute": slope, "samples": samples}
    options.json.write_text(json.dumps(content | {"failures": outcome.failures}))
    return bool(outcome.failures)


def _load(
    target: Target, options: argparse.Namespace
) -> tuple[list[tuple[float, int]], serving_load.Outcome]:
    """Put the server under load; what memory it had meanwhile, by seconds."""
    samples: list[tuple[float, int]] = []
    is_over = threading.Event()

    def sample() -> None:
        begin = time.monotonic()
        while not is_over.wait(_SAMPLE_SECONDS):
            samples.append((time.monotonic() - begin, _resident_kib(target.pid)))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        load = Load("soak", 4, 32, rate=options.rate)
        return samples, serving_load.run(target, load, options.rate, options.seconds)
    finally:
        is_over.set()
        sampler.join()


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def _slope(samples: Sequence[tuple[float, int]]) -> float:
    """KiB a minute, of the line through the samples after the server has settled."""
    settled = [sample for sample in samples if sample[0] >= _SETTLE_SECONDS] or samples
    seconds, kib = np.array(settled, float).T
    return float(np.polyfit(seconds / 60, kib, 1)[0]) if len(settled) > 1 else 0.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
