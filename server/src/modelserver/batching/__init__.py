"""Batching: many small pieces of work share one run, within limits of size, time and memory.

Subclass `BatchTask` with what your work needs, give a `BasicBatchScheduler` (or a queue of a
`SharedBatchScheduler`, where several kinds of work share threads) a function that runs a `Batch`,
and `schedule` tasks. The words and the behaviour are those of TensorFlow's batching library.

Not here: tensors. What a row is, how rows are merged and split, and what happens when a shared run
fails are the business of the function that runs a batch; `modelserver.inference.batched` is one.
"""

from modelserver.batching.options import BatchOptions
from modelserver.batching.queue import BatchQueue, SplitTask
from modelserver.batching.scheduler import (
    BasicBatchScheduler,
    ProcessBatch,
    ScheduledQueue,
    SchedulerStats,
    SharedBatchScheduler,
)
from modelserver.batching.task import Batch, BatchTask, DivisibleTask

__all__ = [
    "BasicBatchScheduler",
    "Batch",
    "BatchOptions",
    "BatchQueue",
    "BatchTask",
    "DivisibleTask",
    "ProcessBatch",
    "ScheduledQueue",
    "SchedulerStats",
    "SharedBatchScheduler",
    "SplitTask",
]
