"""BatchingOptions: what a user can set about batching a model."""

from dataclasses import dataclass
from itertools import pairwise

from modelserver.batching.options import BatchOptions
from modelserver.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """The fields of TensorFlow Serving's BatchingParameters, with its defaults. Sizes are in rows.

    `num_batch_threads` (None = one for each processor) and `thread_pool_name` are about the threads
    that all models share; whoever makes the `SharedBatchScheduler` reads them. The others are about
    each queue, of which there is one for each signature of each version: see `BatchOptions`.

    `allowed_batch_sizes`, increasing, the last one equal to `max_batch_size`, rounds every batch up
    to one of them. With splitting, the last one may be `max_execution_batch_size` instead, and no
    batch is rounded up beyond that, whether it is among them or not.

    `pad_variable_length_inputs` lets requests of different lengths share a batch. With splitting, a
    request that fits a batch is kept whole then, and a larger one shares batches with requests of
    its own lengths only, so that its parts fit together again.

    Raises `InvalidArgumentError` with TensorFlow Serving's texts.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int | None = None
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        self.for_rows()  # checks what it is made from
        if self.num_batch_threads is not None and self.num_batch_threads < 1:
            raise InvalidArgumentError(
                f"num_batch_threads must be positive; was {self.num_batch_threads}"
            )
        self._check_allowed_batch_sizes()

    def _check_allowed_batch_sizes(self) -> None:
        sizes = self.allowed_batch_sizes
        if any(larger <= smaller for smaller, larger in pairwise(sizes)):
            raise InvalidArgumentError(
                "allowed_batch_sizes entries must be monotonically increasing"
            )
        if sizes and sizes[-1] not in (self.max_batch_size, self.for_rows().execution_batch_size):
            raise InvalidArgumentError(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.max_batch_size}"
            )

    @property
    def execution_batch_sizes(self) -> tuple[int, ...]:
        """The sizes that batches are rounded up to, increasing, the last one the most rows that a
        batch may have; none where any size is allowed.
        """
        largest = self.for_rows().execution_batch_size
        smaller = [size for size in self.allowed_batch_sizes if size < largest]
        return (*smaller, largest) if self.allowed_batch_sizes else ()

    def for_rows(self) -> BatchOptions:
        """The limits of a queue whose requests are merged row by row."""
        return BatchOptions(
            max_batch_size=self.max_batch_size,
            batch_timeout_micros=self.batch_timeout_micros,
            max_enqueued_batches=self.max_enqueued_batches,
            enable_large_batch_splitting=self.enable_large_batch_splitting,
            max_execution_batch_size=self.max_execution_batch_size,
        )

    def for_single_requests(self) -> BatchOptions:
        """The limits of a queue whose requests cannot be merged: each is a batch, none waits for
        others, and as many may be queued as rows of mergeable ones.
        """
        return BatchOptions(
            max_batch_size=1,
            batch_timeout_micros=0,
            max_enqueued_batches=self.max_enqueued_batches * self.max_batch_size,
        )
