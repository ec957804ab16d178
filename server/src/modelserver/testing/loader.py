"""FakeLoader: a Loader that records what the manager did to it."""

import threading
from collections.abc import Iterable


class FakeLoader:
    """A Loader whose servable is any object you give it. Thread-safe.

    Useful for manager tests: `failures` are raised by the first calls of `load`, one each;
    the counters say what was called. It asserts the contract of `Loader`: never two calls at once,
    and successful loads and unloads alternate.
    """

    def __init__(self, servable: object = "servable", failures: Iterable[Exception] = ()) -> None:
        self.loads = 0
        self.unloads = 0
        self.is_loaded = False
        self._servable = servable
        self._failures = list(failures)
        self._busy = threading.Lock()

    def load(self) -> None:
        """Count the call, and raise the next failure if there is one."""
        with self._exclusively():
            assert not self.is_loaded, "load after a successful load"
            self.loads += 1
            if self._failures:
                raise self._failures.pop(0)
            self.is_loaded = True

    def unload(self) -> None:
        """Count the call."""
        with self._exclusively():
            assert self.is_loaded, "unload without a load"
            self.unloads += 1
            self.is_loaded = False

    def servable(self) -> object:
        """Return the object given at construction."""
        assert self.is_loaded, "servable of a loader that is not loaded"
        return self._servable

    def _exclusively(self) -> threading.Lock:
        assert not self._busy.locked(), "load and unload overlap"
        return self._busy
