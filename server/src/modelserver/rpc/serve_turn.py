"""ServeTurn: which of two threads takes the calls."""

import threading

from modelserver.clock import Clock

STUCK_SECONDS = 0.1
"""How long the calls that arrived together may take to be handed on or, where their models are
light, run. Far longer than that ever takes, and short enough for those who wait meanwhile."""


class ServeTurn:
    """One of two threads serves; the other takes over when the first is stuck. Thread-safe.

    Models that are light as a rule are run by the thread that serves. When one of them is slow for
    once, or hangs, the calls to all the others must not wait for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._turn = 0
        self._is_taken = False
        self._busy_since: float | None = None
        self._num_stuck = 0
        self._is_over = False

    def wait(self) -> int | None:
        """Return the number of the caller's turn, when nobody serves or who does is stuck; None
        when serving is over.
        """
        with self._changed:
            while not self._is_over:
                if not self._is_taken or self._is_stuck():
                    self._num_stuck += self._is_taken
                    self._turn += 1
                    self._is_taken, self._busy_since = True, None
                    return self._turn
                self._clock.wait(self._changed, STUCK_SECONDS)
            return None

    def begin(self) -> None:
        """Say that the one whose turn it is has taken calls."""
        self._busy_since = self._clock.monotonic()

    def end(self, turn: int) -> bool:
        """Say that it has done with them. Returns whether it is still its turn."""
        with self._changed:
            if turn != self._turn:
                self._num_stuck -= 1
                return False
            self._busy_since = None
            return True

    def is_other_stuck(self) -> bool:
        """Whether one who served before is still stuck in what it did then."""
        return self._num_stuck > 0

    def close(self) -> None:
        """End serving: nobody's turn comes any more."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _is_stuck(self) -> bool:
        since = self._busy_since
        return since is not None and self._clock.monotonic() - since >= STUCK_SECONDS
