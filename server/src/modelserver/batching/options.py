"""BatchOptions: the limits of one queue."""

from dataclasses import dataclass

from modelserver.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How long a queue collects, how much, and how much it lets wait. The sizes are in rows.

    `max_batch_size` bounds one task, and one batch unless `enable_large_batch_splitting`: then a
    task larger than the room in the open batch is split, and `max_execution_batch_size` (default:
    `max_batch_size`) bounds a batch. `batch_timeout_micros` is the longest that a batch waits for
    more tasks while a thread is free, from its first task on; 0 = not at all. There is no such
    bound while all threads are busy. `max_enqueued_batches` is the number of batches that may wait;
    beyond it tasks are refused.

    Raises `InvalidArgumentError` with TensorFlow's texts.
    """

    max_batch_size: int = 32
    batch_timeout_micros: int = 10_000
    max_enqueued_batches: int = 10
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            # TensorFlow's name for it comes first, so that its users find the text.
            raise InvalidArgumentError(
                f"input_batch_size_limit must be positive; was {self.max_batch_size}; "
                "set max_batch_size"
            )
        if self.batch_timeout_micros < 0:
            raise InvalidArgumentError(
                f"batch_timeout_micros must be non-negative; was {self.batch_timeout_micros}"
            )
        if self.max_enqueued_batches < 1:
            raise InvalidArgumentError(
                f"max_enqueued_batches must be positive; was {self.max_enqueued_batches}"
            )
        self._check_splitting()

    def _check_splitting(self) -> None:
        if self.execution_batch_size < 1:
            raise InvalidArgumentError(
                f"max_execution_batch_size must be positive; was {self.max_execution_batch_size}"
            )
        if self.execution_batch_size > self.max_batch_size:
            raise InvalidArgumentError(
                "When enable_large_batch_splitting is true, input_batch_size_limit must be "
                "greater than or equal to max_execution_batch_size."
            )

    @property
    def execution_batch_size(self) -> int:
        """The most rows in one batch."""
        if not self.enable_large_batch_splitting or self.max_execution_batch_size is None:
            return self.max_batch_size
        return self.max_execution_batch_size

    @property
    def batch_timeout_seconds(self) -> float:
        """`batch_timeout_micros` on the clock's scale."""
        return self.batch_timeout_micros * 1e-6
