"""FakeTask and BatchRecorder: work for a scheduler that only remembers what became of it."""

import queue
import threading
from collections.abc import Hashable

from modelserver.batching import Batch, BatchTask
from modelserver.errors import ServingError

_WAIT_SECONDS = 30.0
"""A test that waits this long has failed."""


class FakeTask(BatchTask):
    """A `BatchTask` with a `name`, that remembers by which errors it was told. Thread-safe.

    Useful for tests of what schedules, cancels and expires tasks.
    """

    def __init__(
        self,
        name: str = "",
        size: int = 1,
        deadline: float | None = None,
        shape: Hashable = None,
    ) -> None:
        super().__init__(size, deadline, shape)
        self.name = name
        self.errors: queue.SimpleQueue[ServingError] = queue.SimpleQueue()

    def fail(self, error: ServingError) -> None:
        """Remember `error`."""
        self.errors.put(error)

    def wait_for_error(self) -> ServingError:
        """The next error, once there is one."""
        return self.errors.get(timeout=_WAIT_SECONDS)


class BatchRecorder:
    """A function that runs batches of `FakeTask`s, and records their names. Thread-safe.

    With `blocks`, each batch waits inside until `finish`: a test can look at what happens while all
    threads are busy.
    """

    def __init__(self, *, blocks: bool = False) -> None:
        self.batches: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self._may_finish = threading.Event()
        if not blocks:
            self._may_finish.set()

    def __call__(self, batch: Batch[FakeTask]) -> None:
        """Run one batch."""
        self.batches.put([task.name for task in batch])
        assert self._may_finish.wait(_WAIT_SECONDS)

    def next_batch(self) -> list[str]:
        """The names of the next batch's tasks, once one has begun."""
        return self.batches.get(timeout=_WAIT_SECONDS)

    def finish(self) -> None:
        """Let waiting and later batches end."""
        self._may_finish.set()
