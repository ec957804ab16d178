"""Tell whoever waits what for, and that it still goes on."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Say = Callable[[str], None]
"""Shows one line. Called from any thread."""

_SILENT_SECONDS = 2.0
_HEARTBEAT_SECONDS = 15.0


def say_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # telling is what it is for


@contextmanager
def step(what: str, say: Say = say_on_stderr) -> Iterator[None]:
    """Show `what` if the body takes more than two seconds, then a heartbeat, then the time."""
    started = time.monotonic()
    ended = threading.Event()

    def heartbeat() -> None:
        pause = _SILENT_SECONDS
        line = f"{what} …"
        while not ended.wait(pause):
            say(line)
            pause = _HEARTBEAT_SECONDS
            line = f"  … still at it after {time.monotonic() - started + pause:.0f} s"

    thread = threading.Thread(target=heartbeat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    seconds = time.monotonic() - started
    if seconds > _SILENT_SECONDS:
        say(f"  done in {seconds:.0f} s")
