"""Signs of life of the manager's own thread."""

import threading

from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.testing.clock import ManualClock
from modelserver.testing.loader import FakeLoader

PATIENCE_SECONDS = 20


def aspire(manager, *versions):
    data = [ServableData(ServableId("m", version), FakeLoader()) for version in versions]
    manager.set_aspired_versions("m", data)


def test_a_manager_that_has_nothing_to_do_is_not_busy_however_long():
    clock = ManualClock()
    with AspiredVersionsManager(clock=clock) as manager:
        clock.advance(1000)

        assert manager.busy_seconds() == 0.0


def test_a_manager_that_is_stuck_in_a_policy_is_busy_until_it_comes_back():
    clock = ManualClock()
    entered, leave = threading.Event(), threading.Event()

    def policy(versions):
        entered.set()
        assert leave.wait(PATIENCE_SECONDS)

    with AspiredVersionsManager(policy, clock=clock) as manager:
        aspire(manager, 1)
        assert entered.wait(PATIENCE_SECONDS)
        clock.advance(70)
        assert manager.busy_seconds() == 70.0
        leave.set()


def test_a_manager_that_has_done_its_work_is_not_busy():
    clock = ManualClock()
    with AspiredVersionsManager(clock=clock) as manager:
        aspire(manager, 1)
        latest = [ServableRequest.latest("m")]
        assert manager.monitor.wait_until_reached(latest, timeout=None).is_success
        manager.set_version_labels("m", {"stable": 1})
        while not manager.version_labels("m"):
            threading.Event().wait(0.001)
        while manager.busy_seconds() != 0.0:
            threading.Event().wait(0.001)


def test_labels_are_told_as_they_point_at_present():
    manager = AspiredVersionsManager()
    manager.set_version_labels("m", {"stable": 1})
    manager.step()

    assert manager.version_labels("m") == {"stable": 1}
    assert manager.version_labels("other") == {}
    assert manager.stop(PATIENCE_SECONDS)
