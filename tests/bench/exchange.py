"""What a load sends to a server and what must come back: checked against numpy once, then written
to files for the load generator, which compares each answer with them.
"""

import http.client
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from load_generator import Tolerance, tolerances
from model_store import SAMPLES, Model
from server_process import check_runs
from wire import Wire

_START_SECONDS = 180
_MAX_MESSAGE_BYTES = 64 << 20
TOLERANCE = 1e-4
"""How far a number may be off: batches of other sizes are computed in another order."""


class WrongAnswerError(Exception):
    """A server does not answer what numpy does."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server that serves, and files with request bodies and the answers to them. `tolerances`
    say where those hold numbers that may be off a little. `admin_port` is where modelserver's
    /metrics and /status are, 0 = nowhere. With `tls_ca`, the authority's certificate in PEM, it
    is called over TLS.
    """

    pid: int
    port: int
    wire: Wire
    path: str
    requests: tuple[Path, ...]
    answers: tuple[Path, ...]
    tolerances: tuple[Tolerance, ...]
    request_bytes: int
    admin_port: int = 0
    tls_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls a server once, with a body; over TLS where `tls_ca` says whom to trust. Raises
    `OSError` or `grpc.RpcError`.
    """

    wire: Wire
    port: int
    tls_ca: Path | None

    def __call__(self, path: str, body: bytes) -> bytes:
        """The answer's body."""
        return self._grpc(path, body) if self.wire.is_grpc else self._http(path, body)

    def _grpc(self, path: str, body: bytes) -> bytes:
        sizes = [
            (f"grpc.max_{way}_message_length", _MAX_MESSAGE_BYTES) for way in ("send", "receive")
        ]
        with self._channel(sizes) as channel:
            answer: bytes = channel.unary_unary(path)(body, timeout=30)
        return answer

    def _channel(self, options: Sequence[tuple[str, int]]) -> grpc.Channel:
        address = f"127.0.0.1:{self.port}"
        if self.tls_ca is None:
            return grpc.insecure_channel(address, options=options)
        credentials = grpc.ssl_channel_credentials(self.tls_ca.read_bytes())
        return grpc.secure_channel(address, credentials, options=options)

    def _http(self, path: str, body: bytes) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise ConnectionError(f"HTTP {response.status}: {answer[:200]!r}")
        return answer


def prepare(
    model: Model,
    wire: Wire,
    names: Sequence[str],
    rows: int,
    folder: Path,
    tls_ca: Path | None = None,
) -> Callable[[subprocess.Popen[bytes], int, Path], Target]:
    """Write the requests: each name in turn, each with other rows. The function that is returned
    waits for a server to answer them, over TLS with `tls_ca`, and writes its answers.
    """
    x, y = model.samples
    bodies, expected = [], []
    for number in range(max(SAMPLES, len(names))):
        chosen = (number + np.arange(rows)) % SAMPLES
        name = names[number % len(names)]
        bodies.append(wire.request(name, model, np.ascontiguousarray(x[chosen])))
        expected.append(wire.expected(model, x[chosen], y[chosen]))
    requests, size = _write(folder, "request", bodies), len(bodies[0])

    def finish(process: subprocess.Popen[bytes], port: int, log: Path) -> Target:
        path, caller = wire.path(names[0]), Caller(wire, port, tls_ca)
        _wait(caller, path, bodies[0], process, log)
        answers = [caller(path, body) for body in bodies]
        numbers = [_numbers(wire, model, answer) for answer in answers]
        for found, wanted in zip(numbers, expected, strict=True):
            _check(found, wanted)
        files = _write(folder, "answer", answers)
        ranges = _tolerances(answers, numbers) if wire.is_grpc else ()
        return Target(process.pid, port, wire, path, requests, files, ranges, size, tls_ca=tls_ca)

    return finish


def _numbers(wire: Wire, model: Model, answer: bytes) -> np.ndarray:
    try:
        return wire.answer(model, answer)
    except ValueError as error:
        raise WrongAnswerError(f"answers {answer!r:.200}: {error}") from error


def _tolerances(answers: Sequence[bytes], numbers: Sequence[np.ndarray]) -> tuple[Tolerance, ...]:
    return tuple(
        tolerance
        for index, (answer, found) in enumerate(zip(answers, numbers, strict=True))
        for tolerance in tolerances(answer, found.astype("<f4").tobytes(), TOLERANCE, index)
    )


def _write(folder: Path, name: str, bodies: Sequence[bytes]) -> tuple[Path, ...]:
    files = tuple(folder / f"{name}-{number}" for number in range(len(bodies)))
    for file, body in zip(files, bodies, strict=True):
        file.write_bytes(body)
    return files


def _wait(
    caller: Caller, path: str, body: bytes, process: subprocess.Popen[bytes], log: Path
) -> None:
    begin = said = time.monotonic()
    while True:
        check_runs(process, log)
        try:
            caller(path, body)
        except (OSError, http.client.HTTPException, grpc.RpcError) as error:
            now = time.monotonic()
            if now - begin > _START_SECONDS:
                raise TimeoutError(f"no answer after {_START_SECONDS} s: {error}") from error
            if now - said > 5:
                print(f"    starting for {now - begin:.0f} s…", file=sys.stderr, flush=True)
                said = now
            time.sleep(0.2)
        else:
            return


def _check(numbers: np.ndarray, expected: np.ndarray) -> None:
    if numbers.shape != expected.shape or not np.allclose(numbers, expected, atol=TOLERANCE):
        raise WrongAnswerError(f"answers {numbers!r:.200} instead of {expected!r:.200}")
