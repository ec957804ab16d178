"""Rounds, rates and tables: how every benchmark here measures and reports.

Variants are run in turn, round by round, so that a drift of the machine meets all of them; a figure
is given as minimum, median and maximum over the rounds, because these machines are shared and
noisy.
"""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity. `unit` says what is counted; a ratio has the unit "×"."""

    name: str
    unit: str
    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, name: str, unit: str, rounds: Sequence[float]) -> "Figure":
        """The figure of one value a round."""
        return cls(name, unit, min(rounds), statistics.median(rounds), max(rounds))

    def as_json(self) -> dict[str, object]:
        """For the report file."""
        return asdict(self)


def interleaved(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure each variant once a round, in turn."""
    values: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            values[name].append(measure())
    return values


def rate_of(work: Callable[[], int], threads: int, seconds: float) -> float:
    """Run `work`, which returns how much it did, over and over on several threads; what was done in
    a second.
    """
    start = threading.Barrier(threads + 1)
    is_over = threading.Event()
    done = [0] * threads

    def run(index: int) -> None:
        start.wait()
        while not is_over.is_set():
            done[index] += work()

    workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    begin = time.perf_counter()
    is_over.wait(seconds)
    is_over.set()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - begin)


def table(title: str, figures: Sequence[Figure]) -> str:
    """A plain table, widest name first in width."""
    width = max(len(figure.name) for figure in figures)
    lines = [title, f"  {'':{width}}  {'min':>12} {'median':>12} {'max':>12}"]
    for f in figures:
        numbers = " ".join(_number(value) for value in (f.minimum, f.median, f.maximum))
        lines.append(f"  {f.name:{width}}  {numbers} {f.unit}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:12,.0f}" if abs(value) >= 100 else f"{value:12.2f}"
