import threading
from dataclasses import replace

import pytest

from modelserver.core.monitor import MAX_ENDED_VERSIONS, ServableStateMonitor
from modelserver.core.servable import ServableId, ServableRequest
from modelserver.core.state import HeldBack, ManagerState, ServableState
from modelserver.errors import DataLossError, InvalidArgumentError, UnavailableError
from modelserver.testing.clock import ManualClock

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
WAITING = HeldBack("waiting for upload: x")
COMING = HeldBack("downloading", is_coming=True)
FAILED = HeldBack("downloading", True, UnavailableError("no route to the bucket"), 1_700_000_010.0)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def monitor(clock):
    return ServableStateMonitor(clock)


def state(version, manager_state, name="m", health=None):
    return ServableState(ServableId(name, version), manager_state, health)


def test_the_newest_state_of_a_version_is_remembered_with_its_time(monitor, clock):
    monitor.publish(state(1, START))
    clock.advance(5)
    monitor.publish(state(1, LOADING))

    found = monitor.get_state(ServableId("m", 1))

    assert found.manager_state is LOADING
    assert found.time == clock.time()


def test_an_unknown_version_has_no_state(monitor):
    assert monitor.get_state(ServableId("m", 1)) is None
    assert monitor.get_version_states("m") == {}


def test_versions_of_a_name_come_highest_first(monitor):
    for version in (2, 10, 1):
        monitor.publish(state(version, AVAILABLE))

    assert list(monitor.get_version_states("m")) == [10, 2, 1]


def test_live_states_leave_out_what_has_ended(monitor):
    monitor.publish(state(1, END))
    monitor.publish(state(2, AVAILABLE))

    assert list(monitor.get_live_states()["m"]) == [2]
    assert list(monitor.get_all_states()["m"]) == [2, 1]


def test_only_the_last_ended_versions_are_remembered(monitor, clock):
    monitor.publish(state(0, AVAILABLE))
    for version in range(1, MAX_ENDED_VERSIONS + 5):
        clock.advance(1)
        monitor.publish(state(version, END))

    versions = list(monitor.get_version_states("m"))

    assert len(versions) == MAX_ENDED_VERSIONS + 1
    assert versions[-2:] == [5, 0]


def test_subscribers_hear_every_state_in_order_until_they_unsubscribe(monitor):
    heard = []
    unsubscribe = monitor.subscribe(lambda s: heard.append(s.manager_state))

    monitor.publish(state(1, START))
    monitor.publish(state(1, LOADING))
    unsubscribe()
    monitor.publish(state(1, AVAILABLE))

    assert heard == [START, LOADING]


def test_a_subscriber_that_fails_harms_nobody(monitor, caplog):
    heard = []
    monitor.subscribe(lambda _: 1 / 0)
    monitor.subscribe(heard.append)

    monitor.publish(state(1, START))

    assert len(heard) == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_subscriber_may_read_the_monitor(monitor):
    seen = []
    monitor.subscribe(lambda s: seen.append(monitor.get_state(s.id).manager_state))

    monitor.publish(state(1, START))

    assert seen == [START]


# Held-back versions…


def test_a_held_back_version_shows_as_start_with_what_is_missing(monitor):
    monitor.report_held_back("m", {2: HeldBack("waiting for upload: variables/variables.index")})

    found = monitor.get_state(ServableId("m", 2))

    assert (found.manager_state, found.message) == (
        START,
        "waiting for upload: variables/variables.index",
    )


def test_a_version_that_is_held_back_no_longer_and_not_aspired_is_forgotten(monitor):
    monitor.report_held_back("m", {2: WAITING})

    monitor.report_held_back("m", {})

    assert monitor.get_state(ServableId("m", 2)) is None


def test_reporting_the_same_again_publishes_nothing(monitor):
    heard = []
    monitor.subscribe(heard.append)

    monitor.report_held_back("m", {2: WAITING})
    monitor.report_held_back("m", {2: WAITING})

    assert len(heard) == 1


@pytest.mark.parametrize("manager_state", [START, LOADING, AVAILABLE, UNLOADING])
def test_a_version_that_the_manager_has_keeps_its_own_state(monitor, manager_state):
    monitor.publish(state(1, manager_state))

    monitor.report_held_back("m", {1: WAITING})
    monitor.report_held_back("m", {})

    found = monitor.get_state(ServableId("m", 1))
    assert (found.manager_state, found.message) == (manager_state, "")


def test_a_version_that_is_fetched_shows_as_start_and_as_coming(monitor):
    monitor.report_held_back("m", {2: COMING})

    found = monitor.get_state(ServableId("m", 2))

    assert (found.manager_state, found.message) == (START, "downloading")
    assert found.is_coming
    assert found.is_held_back


def test_an_incomplete_version_is_not_coming(monitor):
    monitor.report_held_back("m", {2: WAITING})

    assert not monitor.get_state(ServableId("m", 2)).is_coming


def test_a_version_that_could_not_be_fetched_shows_the_error_and_when_it_is_tried_again(monitor):
    monitor.report_held_back("m", {2: FAILED})

    found = monitor.get_state(ServableId("m", 2))

    assert (found.manager_state, found.message) == (START, "downloading")
    assert (found.health, found.retry_time) == (FAILED.error, FAILED.retry_time)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(WAITING, replace(WAITING, message="waiting for upload: y"), id="message"),
        pytest.param(WAITING, replace(WAITING, is_coming=True), id="is-coming"),
        pytest.param(COMING, FAILED, id="fails"),
        pytest.param(FAILED, replace(FAILED, error=UnavailableError("reset")), id="other-error"),
        pytest.param(FAILED, replace(FAILED, retry_time=1_700_000_030.0), id="retry-time"),
        pytest.param(FAILED, COMING, id="is-tried-again"),
    ],
)
def test_a_reason_that_changes_is_published(monitor, before, after):
    heard = []
    monitor.report_held_back("m", {2: before})
    monitor.subscribe(heard.append)

    monitor.report_held_back("m", {2: after})

    (found,) = heard
    assert found.message == after.message
    assert found.is_coming == after.is_coming
    assert (found.health, found.retry_time) == (after.error, after.retry_time)


def test_the_same_failure_again_publishes_nothing(monitor):
    heard = []
    monitor.report_held_back("m", {2: FAILED})
    monitor.subscribe(heard.append)

    monitor.report_held_back("m", {2: FAILED})

    assert heard == []


def test_a_version_that_could_not_be_fetched_is_forgotten_once_nobody_holds_it_back(monitor):
    monitor.report_held_back("m", {2: FAILED})

    monitor.report_held_back("m", {})

    assert monitor.get_state(ServableId("m", 2)) is None


def test_a_version_that_failed_to_load_keeps_its_error_while_it_is_fetched_anew(monitor):
    error = DataLossError("truncated")
    monitor.publish(state(1, END, health=error))

    monitor.report_held_back("m", {1: COMING})

    found = monitor.get_state(ServableId("m", 1))
    assert (found.manager_state, found.health) == (END, error)


def test_a_version_that_was_unloaded_shows_that_it_is_fetched_anew(monitor):
    monitor.publish(state(1, END))

    monitor.report_held_back("m", {1: COMING})

    assert monitor.get_state(ServableId("m", 1)).is_coming


def test_a_version_is_coming_no_longer_once_the_manager_has_it(monitor):
    monitor.report_held_back("m", {1: COMING})
    monitor.publish(state(1, START))

    monitor.report_held_back("m", {1: COMING})

    found = monitor.get_state(ServableId("m", 1))
    assert (found.message, found.is_coming, found.is_held_back) == ("", False, False)


# Waiting…


def requests(*names):
    return [ServableRequest.latest(name) for name in names]


def test_waiting_ends_when_each_name_has_one_available_version(monitor):
    monitor.publish(state(1, AVAILABLE, "a"))
    monitor.publish(state(1, LOADING, "a"))
    monitor.publish(state(2, AVAILABLE, "a"))
    monitor.publish(state(7, AVAILABLE, "b"))

    result = monitor.wait_until_reached(requests("a", "b"))

    assert result.is_success
    assert result.reached[ServableRequest.latest("a")] == ServableId("a", 2)


def test_a_name_whose_versions_have_all_ended_has_failed(monitor):
    error = DataLossError("truncated")
    monitor.publish(state(1, END, health=error))

    result = monitor.wait_until_reached(requests("m"))

    assert not result.is_success
    assert result.failed[ServableRequest.latest("m")].health is error


def test_a_name_with_one_version_still_loading_is_not_given_up(monitor):
    monitor.publish(state(1, END))
    monitor.publish(state(2, LOADING))

    result = monitor.wait_until_reached(requests("m"), timeout=0)

    assert result.pending == frozenset(requests("m"))


def test_a_name_with_one_version_still_to_be_fetched_is_not_given_up(monitor):
    monitor.publish(state(1, END))
    monitor.report_held_back("m", {2: FAILED})

    result = monitor.wait_until_reached(requests("m"), timeout=0)

    assert result.pending == frozenset(requests("m"))


def test_an_exact_version_is_waited_for_by_itself(monitor):
    monitor.publish(state(1, AVAILABLE))
    monitor.publish(state(2, END))
    exact = [
        ServableRequest.specific("m", 1),
        ServableRequest.specific("m", 2),
        ServableRequest.specific("m", 3),
    ]

    result = monitor.wait_until_reached(exact, timeout=0)

    assert set(result.reached) == {exact[0]}
    assert set(result.failed) == {exact[1]}
    assert result.pending == {exact[2]}


class WaitedOn(ManualClock):
    """Tells when somebody waits."""

    def __init__(self):
        super().__init__()
        self.is_waited_on = threading.Event()

    def wait(self, condition, timeout):
        self.is_waited_on.set()
        super().wait(condition, timeout)


def test_what_has_failed_once_stays_failed_for_the_waiter_though_it_is_tried_again():
    clock = WaitedOn()
    monitor = ServableStateMonitor(clock)
    results = []
    waiter = threading.Thread(
        target=lambda: results.append(monitor.wait_until_reached(requests("a", "b")))
    )
    error = DataLossError("truncated")
    monitor.publish(state(1, END, "a", error))
    waiter.start()
    clock.is_waited_on.wait(10)  # for b: a has failed

    monitor.publish(state(1, START, "a", error))
    monitor.publish(state(1, AVAILABLE, "b"))
    waiter.join(10)

    assert set(results[0].failed) == set(requests("a"))
    assert set(results[0].reached) == set(requests("b"))


def test_a_label_cannot_be_waited_for(monitor):
    with pytest.raises(InvalidArgumentError, match=r"wait for the version it names"):
        monitor.wait_until_reached([ServableRequest.labelled("m", "stable")])


def test_a_waiter_is_woken_by_the_state_it_waits_for(monitor):
    results = []
    waiter = threading.Thread(
        target=lambda: results.append(monitor.wait_until_reached(requests("m")))
    )
    waiter.start()

    monitor.publish(state(1, LOADING))
    monitor.publish(state(1, AVAILABLE))
    waiter.join(5)

    assert results[0].is_success


def test_a_waiter_gives_up_when_its_time_is_over(monitor, clock):
    results = []
    waiter = threading.Thread(
        target=lambda: results.append(monitor.wait_until_reached(requests("m"), timeout=30.0))
    )
    waiter.start()

    while waiter.is_alive():
        clock.advance(31)
        waiter.join(0.01)

    assert results[0].pending == frozenset(requests("m"))


def times(found):
    return found.first_seen_time, found.loading_time, found.available_time


def test_states_carry_the_times_of_what_came_before(monitor, clock):
    began = clock.time()
    for manager_state in (START, LOADING, AVAILABLE, UNLOADING):
        monitor.publish(state(1, manager_state))
        clock.advance(10)

    assert times(monitor.get_state(ServableId("m", 1))) == (began, began + 10, began + 20)


def test_a_version_that_stays_available_has_been_so_since_the_first_time(monitor, clock):
    began = clock.time()
    monitor.publish(state(1, AVAILABLE))
    clock.advance(10)
    monitor.publish(state(1, AVAILABLE, health=DataLossError("what replaces it is broken")))

    assert monitor.get_state(ServableId("m", 1)).available_time == began


def test_a_version_that_is_loaded_anew_is_not_available_until_it_is_again(monitor, clock):
    began = clock.time()
    for manager_state in (START, LOADING, AVAILABLE, UNLOADING, END, START):
        monitor.publish(state(1, manager_state))
    clock.advance(10)
    assert times(monitor.get_state(ServableId("m", 1))) == (began, began, None)

    monitor.publish(state(1, LOADING))
    clock.advance(10)
    monitor.publish(state(1, AVAILABLE))
    assert times(monitor.get_state(ServableId("m", 1))) == (began, began + 10, began + 20)


def test_a_version_is_seen_first_when_it_is_held_back(monitor, clock):
    began = clock.time()
    monitor.report_held_back("m", {1: WAITING})
    clock.advance(10)
    monitor.publish(state(1, LOADING))

    assert monitor.get_state(ServableId("m", 1)).first_seen_time == began
