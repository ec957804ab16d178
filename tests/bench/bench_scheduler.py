"""What the scheduler costs: tasks a second, time to add one, and the latency that it adds to a lone
task.
"""

import threading
import time

from measure import Figure, interleaved
from modelserver.batching import BasicBatchScheduler, BatchOptions, BatchTask

TASKS = 20_000


class CountedTask(BatchTask):
    """Remembers when it ran."""

    __slots__ = ("ran_at",)

    def fail(self, error: Exception) -> None:
        raise AssertionError(error)


def tasks_per_second() -> float:
    """Add many tasks as fast as one thread can, until the last has run."""
    done = threading.Semaphore(0)
    options = BatchOptions(batch_timeout_micros=0, max_enqueued_batches=1_000_000)
    scheduler = BasicBatchScheduler(options, lambda batch: done.release(len(batch)))
    tasks = [CountedTask() for _ in range(TASKS)]
    begin = time.perf_counter()
    for task in tasks:
        scheduler.schedule(task)
    for _ in range(TASKS):
        done.acquire()
    elapsed = time.perf_counter() - begin
    scheduler.stop()
    return TASKS / elapsed


def micros_to_add(timeout_micros: int) -> float:
    """The time of one `schedule` call, batches being run meanwhile."""
    options = BatchOptions(batch_timeout_micros=timeout_micros, max_enqueued_batches=1_000_000)
    scheduler = BasicBatchScheduler(options, lambda batch: None)
    tasks = [CountedTask() for _ in range(TASKS)]
    begin = time.perf_counter()
    for task in tasks:
        scheduler.schedule(task)
    elapsed = time.perf_counter() - begin
    scheduler.stop()
    return elapsed / TASKS * 1e6


def added_latency_micros() -> float:
    """From `schedule` to the callback, one task at a time, timeout 0: the median of many."""
    ran = threading.Event()

    def process(batch) -> None:
        for task in batch:
            task.ran_at = time.perf_counter()
        ran.set()

    scheduler = BasicBatchScheduler(BatchOptions(batch_timeout_micros=0), process)
    latencies = []
    for _ in range(500):
        ran.clear()
        task = CountedTask()
        begin = time.perf_counter()
        scheduler.schedule(task)
        ran.wait()
        latencies.append(task.ran_at - begin)
    scheduler.stop()
    return sorted(latencies)[len(latencies) // 2] * 1e6


def run(rounds: int) -> list[Figure]:
    """Measure everything, in turn."""
    values = interleaved(
        {
            "tasks through one queue": tasks_per_second,
            "schedule(), timeout 0": lambda: micros_to_add(0),
            "schedule(), timeout 10 ms": lambda: micros_to_add(10_000),
            "latency added to a lone task": added_latency_micros,
        },
        rounds,
    )
    units = ("tasks/s", "µs", "µs", "µs")
    return [Figure.of(name, unit, values[name]) for name, unit in zip(values, units, strict=True)]
