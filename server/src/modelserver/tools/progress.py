"""How far a copy is, on standard error."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TextIO

from modelserver.clock import Clock
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.version_cache import in_words

_LOOK_SECONDS = 0.2
_LINE_SECONDS = 5.0
_STOP_SECONDS = 1.0
_REWRITE = "\r\x1b[K"


@dataclass(frozen=True, slots=True)
class Progress:
    """Of `size` bytes `here` are on the disk; `received` of them came in the last `seconds`."""

    here: int
    size: int
    received: int
    seconds: float

    def __str__(self) -> str:
        share = self.here / self.size if self.size else 1.0
        rate = self.received / self.seconds if self.seconds > 0 else 0.0
        words = f"{in_words(self.here)} of {in_words(self.size)} ({share:.0%})"
        return f"{words}, {in_words(round(rate))}/s"


class ProgressReport:
    """Tells people how far something is: on a terminal in one line that changes, elsewhere, as in a
    log, in a line every few seconds. For one thread.
    """

    def __init__(self, title: str, stream: TextIO, clock: Clock) -> None:
        self._title = title
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._due = clock.monotonic() + (0.0 if self._is_terminal else _LINE_SECONDS)

    def show(self, progress: Progress) -> None:
        """Tell, if it is time to."""
        now = self._clock.monotonic()
        if now < self._due:
            return
        if self._is_terminal:
            self._stream.write(f"{_REWRITE}{self._title}: {progress}")
        else:
            self._stream.write(f"{self._title}: {progress}\n")
            self._due = now + _LINE_SECONDS
        self._stream.flush()

    def end(self) -> None:
        """Leave nothing of a line that changes."""
        if self._is_terminal:
            self._stream.write(_REWRITE)
            self._stream.flush()


def run_watched(
    work: Callable[[], None], watch: Callable[[], None], stop: Callable[[], None], clock: Clock
) -> None:
    """Run `work` on a thread of its own, and look at it with `watch` until it has ended. Raises
    what it raises. Where this thread is interrupted, `work` is told to `stop` and waited for, but
    not for long: it may hang.
    """
    watching = Cancellation(clock)
    pool = ThreadPoolExecutor(1, "work")
    done = pool.submit(work)
    pool.shutdown(wait=False)
    done.add_done_callback(lambda _: watching.cancel())
    try:
        while not watching.wait(_LOOK_SECONDS):
            watch()
    except BaseException:  # also Ctrl-C
        stop()
        wait([done], _STOP_SECONDS)
        raise
    done.result()
