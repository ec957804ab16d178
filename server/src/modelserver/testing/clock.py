"""ManualClock: time that moves when the test says so."""

import threading


class ManualClock:
    """A `Clock` whose time stands still until `advance`. Thread-safe.

    Useful for everything that waits: a thread in `wait` sleeps until it is notified or `advance`
    moves time, and then looks whether its time has come; so a test of a ten-minute backoff takes no
    time and cannot be early or late.
    """

    def __init__(self, now: float = 1000.0, epoch: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._epoch_offset = epoch - now
        self._known: set[threading.Condition] = set()

    def monotonic(self) -> float:
        """Seconds on this clock's scale."""
        with self._lock:
            return self._now

    def time(self) -> float:
        """Seconds since the epoch; moves with `monotonic`."""
        return self.monotonic() + self._epoch_offset

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Wait until notified, or until `advance` has moved time at all: the caller looks again
        then, as it must.
        """
        if timeout is not None and timeout <= 0:
            return
        with self._lock:
            is_known = condition in self._known
            self._known.add(condition)
        if is_known:
            # An `advance` from here on needs the condition, which the caller holds until it sleeps,
            # so its wake-up is not lost. A first wait returns instead: time may have moved before
            # the condition was known, and the caller looks again.
            condition.wait()

    def advance(self, seconds: float) -> None:
        """Move time forward and wake every thread that waits on it."""
        with self._lock:
            self._now += seconds
            known = list(self._known)
        for condition in known:
            with condition:
                condition.notify_all()
