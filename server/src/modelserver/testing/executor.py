"""Executors for tests: work runs at once in the caller, or when the test says so."""

from collections import deque
from collections.abc import Callable


class InlineExecutor:
    """Runs what is submitted at once, in the calling thread.

    Useful where loading or predicting takes no time. After `shutdown` it refuses work, as a
    `concurrent.futures` executor does.
    """

    def __init__(self) -> None:
        self._is_shut_down = False

    def submit(self, work: Callable[[], None]) -> None:
        """Run `work` before returning. Raises RuntimeError after `shutdown`."""
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        work()

    def shutdown(self) -> None:
        """Refuse further work."""
        self._is_shut_down = True


class ManualExecutor:
    """Keeps what is submitted until `run_one` or `run_all`. For one thread.

    Useful to look at the time between a request and its work. After `shutdown`, which runs what
    waits, it refuses work, as a `concurrent.futures` executor does.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_shut_down = False

    def submit(self, work: Callable[[], None]) -> None:
        """Keep `work` for later. Raises RuntimeError after `shutdown`."""
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self._waiting.append(work)

    def shutdown(self) -> None:
        """Run what waits, and refuse further work."""
        self.run_all()
        self._is_shut_down = True

    def run_one(self) -> None:
        """Run the oldest piece of work."""
        self._waiting.popleft()()

    def run_all(self) -> None:
        """Run everything, also what is submitted meanwhile."""
        while self._waiting:
            self.run_one()

    def __len__(self) -> int:
        return len(self._waiting)
