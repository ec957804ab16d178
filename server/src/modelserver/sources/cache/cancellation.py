"""Cancellation: how work on other threads is told to end, also while it waits."""

import threading

from modelserver.clock import Clock


class Cancellation:
    """A wish that work should end. Thread-safe. It may come from `parent`, too."""

    def __init__(self, clock: Clock, parent: "Cancellation | None" = None) -> None:
        self._clock = clock
        self._parent = parent
        self._changed: threading.Condition = parent._changed if parent else threading.Condition()
        self._is_cancelled = False

    @property
    def is_cancelled(self) -> bool:
        """Whether the work should end."""
        return self._is_cancelled or (self._parent is not None and self._parent.is_cancelled)

    def cancel(self) -> None:
        """Tell the work to end."""
        with self._changed:
            self._is_cancelled = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait for `seconds`, or until the work should end. Whether it should."""
        return self.wait_until(self._clock.monotonic() + seconds)

    def wait_until(self, deadline: float) -> bool:
        """Wait until `deadline`, on the clock's monotonic scale, or until the work should end.
        Whether it should.
        """
        with self._changed:
            while not self.is_cancelled and (left := deadline - self._clock.monotonic()) > 0:
                self._clock.wait(self._changed, left)
        return self.is_cancelled
