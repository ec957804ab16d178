"""Executors for tests: work runs at once in the caller, or when the test says so."""

from collections import deque
from collections.abc import Callable


class InlineExecutor:
    """Runs what is submitted at once, in the calling thread. For tests in which loading takes no
    time.
    """

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` before returning."""
        work()

    def shutdown(self) -> None:
        """Nothing to stop."""


class ManualExecutor:
    """Keeps what is submitted until `run_one` or `run_all`. For tests that look at the time in
    between. One thread only.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        """Keep `work` for later."""
        self._waiting.append(work)

    def shutdown(self) -> None:
        """Forget what was not run."""
        self._waiting.clear()

    def run_one(self) -> None:
        """Run the oldest piece of work."""
        self._waiting.popleft()()

    def run_all(self) -> None:
        """Run everything, also what is submitted meanwhile."""
        while self._waiting:
            self.run_one()

    def __len__(self) -> int:
        return len(self._waiting)
