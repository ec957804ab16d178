"""Look-ups a second: readers × updates on one name, and random requests over 10 names with 2
versions each.

The grid of TensorFlow Serving's own manager benchmark. Python's interpreter lock serialises the
readers, so more of them share one rate; what the grid shows is that updates do not stop them.
"""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from measure import Figure, interleaved, rate_of
from modelserver.core import (
    AspiredVersionsManager,
    ManagerState,
    ServableData,
    ServableId,
    ServableRequest,
)
from modelserver.testing.loader import FakeLoader

READERS = (1, 2, 4, 8, 16, 32, 64)
LOOKUPS_AT_ONCE = 200
UPDATE_SECONDS = 0.001


def data(name: str, *versions: int) -> list[ServableData]:
    return [ServableData(ServableId(name, version), FakeLoader()) for version in versions]


def look_up(manager: AspiredVersionsManager, requests: list[ServableRequest]) -> Callable[[], int]:
    def work() -> int:
        for request in requests:
            manager.get_servable_handle(request).release()
        return len(requests)

    return work


@contextmanager
def frequent_updates(manager: AspiredVersionsManager, name: str) -> Iterator[None]:
    """Aspire one version after the other, about every millisecond."""
    is_over = threading.Event()

    def update() -> None:
        version = 1
        while not is_over.wait(UPDATE_SECONDS):
            version += 1
            manager.set_aspired_versions(name, data(name, version))

    updater = threading.Thread(target=update)
    updater.start()
    yield
    is_over.set()
    updater.join()


def measure_readers(
    manager: AspiredVersionsManager, readers: int, updates: bool, seconds: float
) -> float:
    work = look_up(manager, [ServableRequest.latest("m")] * LOOKUPS_AT_ONCE)
    if not updates:
        return rate_of(work, readers, seconds)
    with frequent_updates(manager, "m"):
        return rate_of(work, readers, seconds)


def random_requests() -> list[ServableRequest]:
    """1024 requests over 10 names and 2 versions: 80 % latest, 20 % exact."""
    source = random.Random(1)
    names = [f"name-{n}" for n in range(10)]
    return [
        ServableRequest.latest(source.choice(names))
        if source.random() < 0.8
        else ServableRequest.specific(source.choice(names), source.choice((1, 2)))
        for _ in range(1024)
    ]


def run(rounds: int, seconds: float) -> list[Figure]:
    """Measure the whole grid."""
    with AspiredVersionsManager() as manager:
        for name in ("m", *(f"name-{n}" for n in range(10))):
            manager.set_aspired_versions(name, data(name, 1, 2))
            manager.monitor.wait_until_reached([ServableRequest.specific(name, v) for v in (1, 2)])
        assert manager.monitor.get_state(ServableId("m", 1)).manager_state is ManagerState.AVAILABLE
        variants = {
            f"{readers:2} readers, {'updates every ms' if updates else 'no updates'}": (
                lambda readers=readers, updates=updates: measure_readers(
                    manager, readers, updates, seconds
                )
            )
            for updates in (False, True)
            for readers in READERS
        }
        mixed = look_up(manager, random_requests())
        variants["10 names × 2 versions, 1 reader"] = lambda: rate_of(mixed, 1, seconds)
        values = interleaved(variants, rounds)
    return [Figure.of(name, "look-ups/s", rates) for name, rates in values.items()]
