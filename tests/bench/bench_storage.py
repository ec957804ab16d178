"""Measure fetching versions from a bucket, beside the client library's own ways, on an emulator.

Each fetch is a process of its own, the variants take turns. What is measured: megabytes a second,
processor time, memory above idle, and how many calls polling costs. Prints tables and writes JSON.
Nothing here passes or fails.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_storage_fetch import VARIANTS
from measure import Figure, interleaved, table
from modelserver.core.servable import ServableData
from modelserver.core.storage_path import StoragePath
from modelserver.sources import MonitoredServable, StoragePathSource
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.storage.cached import CachedStorage
from modelserver.sources.storage.gcs import GcsStore
from modelserver.sources.storage.router import polling_of
from testcluster.gcs_emulator import GcsEmulator, running_gcs_emulator

BUCKET = "bench-storage"
MIB = 2**20
OURS = "modelserver"
DOLLARS_PER_CLASS_A = 0.05 / 10_000
"""Google's list price for buckets of class Standard in one region."""


@dataclass(frozen=True)
class Shape:
    """What a version consists of."""

    name: str
    files: int
    file_bytes: int

    @property
    def uri(self) -> str:
        """Where it is."""
        return f"gs://{BUCKET}/{self.name}/1"

    @property
    def size(self) -> int:
        """In bytes."""
        return self.files * self.file_bytes


SHAPES = (
    Shape("one-shard", 1, 512 * MIB),
    Shape("four-shards", 4, 128 * MIB),
    Shape("small-files", 1000, 16 * 1024),
)
LARGE = Shape("large", 12, 256 * MIB)


def main(argv: list[str]) -> int:
    """Run what the command line selects. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--no-large", action="store_true", help="leave out the 3 GB version")
    options = parser.parse_args(argv)
    report: dict[str, object] = {"machine": platform.platform(), "cpus": os.cpu_count()}
    with emulator_with_versions() as emulator:
        os.environ["STORAGE_EMULATOR_HOST"] = emulator.url
        for shape in SHAPES:
            report[shape.name] = show(shape.name, speeds(shape, options.rounds))
        if not options.no_large:
            write(emulator, LARGE)
            report["memory"] = show("3 GB: memory above idle", [memory(LARGE, options.rounds)])
        calls = calls_a_poll()
    report["calls"] = calls
    print(cost_table(calls))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1))
        print(f"Written to {options.json}")
    return 0


def show(title: str, figures: list[Figure]) -> list[dict[str, object]]:
    """Print a table, and return it for the report."""
    print(table(title, figures), flush=True)
    return [figure.as_json() for figure in figures]


# What is fetched…


@contextmanager
def emulator_with_versions() -> Iterator[GcsEmulator]:
    """An emulator that has all shapes in memory, and a folder in memory to fetch them into: what is
    measured is who fetches, and no disk.
    """
    memory_ = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(
            prefix="bench-storage-", dir=memory_ if memory_.is_dir() else None
        ) as folder,
        running_gcs_emulator() as emulator,
    ):
        os.environ["BENCH_STORAGE_FOLDER"] = folder
        emulator.create_bucket(BUCKET)
        for shape in SHAPES:
            write(emulator, shape)
        yield emulator


def write(emulator: GcsEmulator, shape: Shape) -> None:
    """Put a version into the bucket."""
    print(f"Writing {shape.name}: {shape.size / 1e6:,.0f} MB…", file=sys.stderr)
    for number in range(shape.files):
        emulator.put(BUCKET, f"{shape.name}/1/file-{number:04}", content_of(shape))


def content_of(shape: Shape) -> bytes:
    """What nothing on the way can compress, and costs little to make."""
    piece = os.urandom(min(shape.file_bytes, MIB))
    return piece * (shape.file_bytes // len(piece))


# …how fast…


def speeds(shape: Shape, rounds: int) -> list[Figure]:
    """Megabytes a second of each variant, and ours beside the best of the others in each round."""
    cpu: dict[str, list[float]] = {variant: [] for variant in VARIANTS}

    def fetch(variant: str) -> float:
        took = fetch_once(variant, shape)
        cpu[variant].append(took["cpu"])
        return shape.size / 1e6 / took["seconds"]

    print(f"Fetching {shape.name}: {rounds} rounds…", file=sys.stderr)
    values = interleaved({v: lambda v=v: fetch(v) for v in VARIANTS}, rounds)
    others = [values[variant] for variant in VARIANTS if variant != OURS]
    best = [max(round_) for round_ in zip(*others, strict=True)]
    ratios = [mine / other for mine, other in zip(values[OURS], best, strict=True)]
    return [
        *(Figure.of(variant, "MB/s", rates) for variant, rates in values.items()),
        Figure.of("modelserver beside the best of the others", "×", ratios),
        *(Figure.of(f"{variant}: CPU", "s", seconds) for variant, seconds in cpu.items()),
    ]


def fetch_once(variant: str, shape: Shape) -> dict[str, float]:
    """Run one fetch in a process of its own."""
    directory = Path(os.environ["BENCH_STORAGE_FOLDER"]) / "target"
    script = Path(__file__).with_name("bench_storage_fetch.py")
    done = subprocess.run(
        [sys.executable, str(script), variant, shape.uri, str(directory)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    shutil.rmtree(directory, ignore_errors=True)
    took: dict[str, float] = json.loads(done.stdout)
    return took


# …in how much memory…


def memory(shape: Shape, rounds: int) -> Figure:
    """The peak above what the process had before it began."""
    took = [fetch_once(OURS, shape)["peakAboveIdle"] / MIB for _ in range(min(rounds, 3))]
    return Figure.of(OURS, "MiB", took)


# …and what polling costs.


def calls_a_poll(polls: int = 20) -> float:
    """How many calls one poll of an idle model makes, counted over some of a real source."""
    store = GcsStore()
    storage = CachedStorage(store, VersionCache(Path(os.environ["BENCH_STORAGE_FOLDER"]) / "cache"))
    shape = SHAPES[1]
    relist = polling_of(shape.uri).relist_seconds
    servable = MonitoredServable(
        "m",
        shape.uri.rpartition("/")[0],
        nothing_is_missing,
        poll_wait_seconds=0.05,
        relist_seconds=relist,
    )
    emitted: list[Sequence[ServableData[StoragePath]]] = []
    source = StoragePathSource(
        storage, [servable], loaded_revision=lambda id: emitted[-1][0].revision if emitted else None
    )
    source.set_aspired_versions_callback(lambda name, versions: emitted.append(versions))
    wait_for(emitted, 3)  # by then the files of the version have been listed, for five minutes
    before, polled = sum(store.counts().values()), len(emitted)
    wait_for(emitted, polled + polls)
    calls, polled = sum(store.counts().values()) - before, len(emitted) - polled
    source.stop()
    storage.stop()
    return round(calls / polled, 2)


def nothing_is_missing(path: StoragePath) -> list[str]:
    """Take whatever is there."""
    del path
    return []


def wait_for(emitted: Sequence[object], count: int) -> None:
    """Wait for a source to have emitted so often."""
    while len(emitted) < count:
        time.sleep(0.01)


def calls_an_hour(pods: int, calls: float, poll_seconds: float, relist_seconds: float) -> float:
    """What one model costs: each poll of each pod, and the files of the version that it serves."""
    return pods * (calls * 3600 / poll_seconds + 3600 / relist_seconds)


def cost_table(calls: float) -> str:
    """The price of polling one model with one version, by the number of pods."""
    lines = [
        f"Calls of an idle model ({calls:g} a poll, and the files every 5 minutes), all of class A",
        f"  {'pods':>5} {'poll':>6} {'calls an hour':>14} {'dollars a month':>16}",
    ]
    for pods in (1, 10, 100):
        for seconds in (1, 30, 300):
            hourly = calls_an_hour(pods, calls, seconds, polling_of("gs://b/m").relist_seconds)
            dollars = hourly * 730 * DOLLARS_PER_CLASS_A
            lines.append(f"  {pods:>5} {seconds:>5}s {hourly:>14,.0f} {dollars:>16,.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
