"""RunTime: how long the runs of a model take, as its latest runs were."""

_WEIGHT_OF_LATEST = 0.1

_MAX_SECONDS = 0.01
"""Calls that arrive meanwhile wait for as long."""


class RunTime:
    """A moving average, for deciding which thread is to run a model. For any thread: when two runs
    end at once, one of them may not count.
    """

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: float | None = None

    def add(self, seconds: float) -> None:
        """Count a run."""
        known = self._seconds
        self._seconds = seconds if known is None else known + (seconds - known) * _WEIGHT_OF_LATEST

    def is_below(self, seconds: float, num_runs: int = 1) -> bool:
        """Whether a run is known to take less than `seconds`, and, where there are several, all of
        them no more than may be done between two looks at what has arrived.
        """
        known = self._seconds
        if known is None or known >= seconds:
            return False
        return num_runs == 1 or known * num_runs <= _MAX_SECONDS
