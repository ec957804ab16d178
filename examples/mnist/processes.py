"""The tutorial's commands as child processes: shown, run, timed, and stopped in every case.

For the main thread, which is the one that signals interrupt.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from modelserver.errors import DeadlineExceededError, InternalError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends the tutorial early. Their handlers raise KeyboardInterrupt."""

_POLL_SECONDS = 0.1
_START_TIMEOUT_SECONDS = 120.0
_STOP_TIMEOUT_SECONDS = 20.0


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, and say how long it took once it is done."""
    print(f"\n== {title}", flush=True)
    start = time.monotonic()
    yield
    print(f"   ({time.monotonic() - start:.1f} s)", flush=True)


def run_command(*command: str) -> str:
    """Show a command, run it to its end, and return what it printed, which is shown as it comes.

    Raises `InternalError` where it fails; its own message has been shown by then.
    """
    with _running(command, subprocess.PIPE) as process:
        output = "".join(_echo(process.stdout))
        status = process.wait()
    if status:
        raise InternalError(f"{command[0]} ended with exit status {status}")
    return output


@contextlib.contextmanager
def running_server(monitored: Path, log: Path) -> Iterator[str]:
    """Run mnist_inference_2 on a free port, give its `host:port` once it serves, and stop it.

    What the server prints goes to the file `log`.

    Raises:
        DeadlineExceededError: it does not come up.
        InternalError: it ended by itself, or failed to stop cleanly.

    """
    command = ("mnist_inference_2", "--port=0", str(monitored))
    with log.open("wb") as output, _running(command, output) as process:
        yield _wait_for_address(process, log)
        status = _stop(process)
    if status:
        raise InternalError(f"the server ended with exit status {status}:\n{_end_of(log)}")


@contextlib.contextmanager
def _running(command: Sequence[str], output: int | IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Show and start a command; stop it on leaving, however that comes about."""
    print(f"$ {shlex.join(command)}", flush=True)
    name, *arguments = command
    if name.startswith("mnist_"):
        # As a module it is found even where this interpreter's scripts are not on the path.
        module = f"mnist.{name.removeprefix('mnist_')}"
        command = [sys.executable, "-u", "-m", module, *arguments]
    errors = None if output == subprocess.PIPE else subprocess.STDOUT
    # Where rounding is the same on every machine, TensorFlow does not say that it may differ.
    environment = {"TF_ENABLE_ONEDNN_OPTS": "0", **os.environ}
    with contextlib.ExitStack() as stack:
        with _stop_signals_held_back():
            # In a group of its own: Ctrl-C reaches this process alone, which stops it in order.
            process = subprocess.Popen(
                command, stdout=output, stderr=errors, env=environment, process_group=0
            )
            stack.enter_context(process)
            stack.callback(_stop, process)
        yield process


@contextlib.contextmanager
def _stop_signals_held_back() -> Iterator[None]:
    """Let stop signals wait for the end of the block, so that no child is started but unknown."""
    received: list[int] = []
    handlers = [
        (number, signal.signal(number, lambda number, _: received.append(number)))
        for number in STOP_SIGNALS
    ]
    try:
        yield
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt


def _echo(stream: IO[bytes] | None) -> Iterator[str]:
    while stream and (chunk := os.read(stream.fileno(), 4096)):
        text = chunk.decode(errors="replace")
        print(text, end="", flush=True)
        yield text


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while (serving := re.search(r"Serving at (\S+)\n", log.read_text())) is None:
        if process.poll() is not None:
            raise InternalError(f"the server did not start:\n{_end_of(log)}")
        if time.monotonic() > deadline:
            raise DeadlineExceededError(
                f"the server did not start within {_START_TIMEOUT_SECONDS:g} s:\n{_end_of(log)}"
            )
        time.sleep(_POLL_SECONDS)
    print(_end_of(log))
    return serving[1]


def _stop(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    try:
        return process.wait(_STOP_TIMEOUT_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _end_of(log: Path) -> str:
    return "\n".join(f"  | {line}" for line in log.read_text().splitlines()[-20:])
