"""The load generator: builds the Rust program in load/ when its sources have changed, and runs it.

As a program it passes its arguments on: `python tests/bench/load_generator.py --help`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

SOURCES = Path(__file__).with_name("load")
_CACHE = Path(os.environ.get("MODELSERVER_CACHE") or Path.home() / ".cache" / "modelserver")
TARGET = _CACHE / "cargo-target" / "load"
_PROGRAM = TARGET / "release" / "modelserver-load"
_STAMP = TARGET / "built-from"
_PATIENCE_SECONDS = 60
"""Longer than the program waits for greetings, late answers and connections together."""


class CargoMissingError(Exception):
    """Rust's build tool is not installed; says how to get it."""


class LoadGeneratorError(Exception):
    """The program cannot be built, or could not make the load; says why."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Bytes `begin` to `end` of an answer are little-endian float32 numbers, each of which may be
    off by `by`; in all answers, or in the one numbered `answer`.
    """

    begin: int
    end: int
    by: float
    answer: int | None = None

    def __str__(self) -> str:
        which = "" if self.answer is None else f"@{self.answer}"
        return f"f32:{self.begin}:{self.end}:{self.by}{which}"


@dataclass(frozen=True, slots=True)
class GrpcLoad:
    """A load on a gRPC method of a server on 127.0.0.1. `requests` are files with one message each,
    sent in turn; `answers` are as many, or one for all, or none (then any whole message with status
    OK is right). With `rate` requests are sent at so many a second, whatever comes back. With
    `tls_ca`, a file of certificates in PEM, connections are over TLS; one of these must have signed
    the server's, which must be for the name localhost. Processor time is counted of the process
    trees under `pids`.
    """

    port: int
    path: str
    requests: Sequence[Path]
    answers: Sequence[Path] = ()
    tolerances: Sequence[Tolerance] = ()
    connections: int = 4
    streams: int = 32
    seconds: float = 5.0
    warm_up_seconds: float = 1.0
    rate: float | None = None
    tls_ca: Path | None = None
    pids: Sequence[int] = ()

    @property
    def arguments(self) -> list[str]:
        """The program's command line."""
        lists: Mapping[str, Sequence[object]] = {
            "--expect": self.answers,
            "--tolerance": self.tolerances,
            "--pid": self.pids,
        }
        return [
            *(f"--port={self.port}", f"--path={self.path}", f"--request={_joined(self.requests)}"),
            *(f"{name}={_joined(values)}" for name, values in lists.items() if values),
            *(f"--connections={self.connections}", f"--streams={self.streams}"),
            *(f"--seconds={self.seconds}", f"--warmup={self.warm_up_seconds}"),
            *(() if self.rate is None else (f"--rate={self.rate}",)),
            *(() if self.tls_ca is None else (f"--tls-ca={self.tls_ca}",)),
        ]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of durations, in microseconds."""

    min: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a load found.

    `requests` have been answered rightly, in an open loop those that were due in the measured time;
    `rps` of them a second. `failed` have not; `failures` says how many by kind (wrong_answer,
    grpc_status, reset, connection, unanswered), `examples` tells the first ones. Processor times
    are microseconds for each request that ended, of the program and of the process trees; None
    where nothing was counted.
    """

    requests: int
    seconds: float
    rps: float
    failed: int
    failures: Mapping[str, int]
    examples: tuple[str, ...]
    latency: Percentiles | None
    pacing_error: Percentiles | None
    client_cpu: float | None
    server_cpu: float | None
    reconnections: int
    goaways: int

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What the program has printed."""
        fields: dict[str, Any] = json.loads(text)
        for name in ("latency", "pacing_error"):
            found = fields.pop(f"{name}_us")
            fields[name] = found and Percentiles(**found)
        for name in ("client_cpu", "server_cpu"):
            fields[name] = fields.pop(f"{name}_us")
        fields["examples"] = tuple(fields["examples"])
        return cls(**fields)


def run(load: GrpcLoad) -> LoadResult:
    """Make `load`, and wait for its end. Builds the program if need be.

    Raises `LoadGeneratorError`, where there is no server, for instance, and `CargoMissingError`.
    Failed requests raise nothing.
    """
    return _run(load.arguments, load.warm_up_seconds + load.seconds)


def self_test(seconds: float, *arguments: str) -> LoadResult:
    """What the generator alone can do: a load on a server within the program. Raises as `run`."""
    return _run(["--self-test", f"--seconds={seconds}", "--warmup=0", *arguments], seconds)


def tolerances(answer: bytes, numbers: bytes, by: float, index: int) -> tuple[Tolerance, ...]:
    """Where the answer numbered `index` holds `numbers`, which are float32 numbers as bytes: all in
    one piece, as in a tensor's content, or one by one in their order, as in a message for each.

    Raises `ValueError` if they are not there.
    """
    found = answer.find(numbers)
    if found >= 0:
        return (Tolerance(found, found + len(numbers), by, index),)
    ranges, end = [], 0
    for offset in range(0, len(numbers), 4):
        begin = answer.find(numbers[offset : offset + 4], end)
        if begin < 0:
            raise ValueError(f"answer {index} does not hold number {offset // 4} as a float32")
        end = begin + 4
        ranges.append(Tolerance(begin, end, by, index))
    return tuple(ranges)


def build() -> Path:
    """The program, built if its sources have changed since it was built last; says so on stderr.

    Raises `CargoMissingError`, or `LoadGeneratorError` with what the compiler says.
    """
    digest = _digest_of_sources()
    if not (_PROGRAM.exists() and _STAMP.exists() and _STAMP.read_text() == digest):
        _compile(cargo())
        _STAMP.write_text(digest)
    return _PROGRAM


def cargo() -> str:
    """Rust's build tool. Raises `CargoMissingError` if there is none."""
    found = shutil.which("cargo") or shutil.which("cargo", path=Path.home() / ".cargo" / "bin")
    if found is None:
        raise CargoMissingError(
            "cargo is missing, and the load generator is written in Rust: install Rust 1.85 or"
            " newer (https://rustup.rs, or the package cargo of Debian 13)"
        )
    return found


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for file in (SOURCES / "Cargo.toml", *sorted(SOURCES.glob("src/**/*.rs"))):
        digest.update(f"{file.relative_to(SOURCES)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _compile(cargo: str) -> None:
    print(
        f"Building the load generator with cargo into {TARGET}: about half a minute the first time",
        file=sys.stderr,
        flush=True,
    )
    begin = time.monotonic()
    done = subprocess.run(
        [cargo, "build", "--release", "--quiet", "--manifest-path", str(SOURCES / "Cargo.toml")],
        env={**os.environ, "CARGO_TARGET_DIR": str(TARGET)},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise LoadGeneratorError(f"the load generator cannot be built:\n{done.stderr.strip()}")
    print(f"Built in {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)


def _run(arguments: Sequence[str], seconds: float) -> LoadResult:
    done = subprocess.run(
        [str(build()), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds + _PATIENCE_SECONDS,
    )
    if done.returncode:
        raise LoadGeneratorError(done.stderr.strip())
    return LoadResult.from_json(done.stdout)


def _joined(values: Sequence[object]) -> str:
    return ",".join(str(value) for value in values)


def _main(arguments: Sequence[str]) -> int:
    try:
        program = build()
    except (CargoMissingError, LoadGeneratorError) as error:
        print(error, file=sys.stderr)
        return 1
    return subprocess.run([str(program), *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
