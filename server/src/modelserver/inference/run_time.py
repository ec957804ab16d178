"""RunTime: how long the runs of a model take, as its latest runs were."""

_WEIGHT_OF_LATEST = 0.1


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

    def is_below(self, seconds: float) -> bool:
        """Whether runs are known to take less than `seconds`."""
        return self._seconds is not None and self._seconds < seconds
