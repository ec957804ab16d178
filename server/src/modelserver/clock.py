"""Time as a parameter: whatever waits or compares deadlines is given a `Clock`, so tests own time.

`modelserver.testing.ManualClock` is the fake; `tests/contract/test_clock.py` holds both to the same
promises.
"""

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Reads and waits on time. Implementations are thread-safe."""

    def monotonic(self) -> float:
        """Seconds that never go back; the scale of every deadline in this package."""

    def time(self) -> float:
        """Seconds since the epoch, for timestamps that people read
        and for comparison with those of files. It may be set back.
        """

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Wait on `condition`, which the caller holds, until it is notified or `timeout` seconds of
        *this clock* passed.

        None waits without limit, and so does infinity. May return early, so callers loop over their
        predicate.
        """


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Seconds of `time.monotonic`, the scale on which gRPC's deadlines are handed over too."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Wait for a notification or for `timeout` seconds.

        A deadline may be further away than a thread is able to sleep: then it wakes up early.
        """
        condition.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
