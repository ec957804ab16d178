"""What counts as broken."""

import pytest

from modelserver_operator.cluster.resources import POD
from modelserver_operator.health import HealthLimits, troubles
from modelserver_operator.inventory import Inventory, Stream
from modelserver_operator.work_queue import QueueStatistics

LIMITS = HealthLimits(deaf_watch=60, silent_resync=120, waiting_work=300)
IDLE = QueueStatistics(depth=0, oldest_seconds=0, delayed=0, in_work=0)


def deaf_since(moment: float | None) -> Inventory:
    inventory = Inventory(Stream(POD, None))
    inventory.deaf_since = moment
    return inventory


def test_an_idle_operator_is_alive() -> None:
    assert troubles([deaf_since(None)], IDLE, resync_beat_at=990, now=1000, limits=LIMITS) == []


@pytest.mark.parametrize(("since", "is_alive"), [(950, True), (930, False)])
def test_a_watch_may_be_deaf_for_a_minute(since: float, is_alive: bool) -> None:
    found = troubles([deaf_since(since)], IDLE, resync_beat_at=990, now=1000, limits=LIMITS)

    assert (found == []) is is_alive
    assert is_alive or "the watch of pods" in found[0]


def test_a_list_that_has_stopped_is_noticed() -> None:
    (found,) = troubles([], IDLE, resync_beat_at=800, now=1000, limits=LIMITS)

    assert found == "nothing has been listed for 200 s"


def test_work_that_nobody_takes_is_noticed() -> None:
    waiting = QueueStatistics(depth=3, oldest_seconds=400, delayed=0, in_work=8)

    (found,) = troubles([], waiting, resync_beat_at=990, now=1000, limits=LIMITS)

    assert "waiting for 400 s" in found


def test_much_work_alone_is_no_trouble() -> None:
    busy = QueueStatistics(depth=5000, oldest_seconds=20, delayed=0, in_work=8)

    assert troubles([], busy, resync_beat_at=990, now=1000, limits=LIMITS) == []
