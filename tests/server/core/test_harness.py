import itertools

import pytest

from modelserver.core.harness import (
    TRANSITIONS,
    HarnessEvent,
    HarnessState,
    LoaderHarness,
    RetryOptions,
)
from modelserver.core.servable import ServableData, ServableId
from modelserver.errors import DataLossError, FailedPreconditionError
from modelserver.testing.loader import FakeLoader

ERROR = DataLossError("saved_model.pb is truncated")


def harness_in(state: HarnessState = HarnessState.NEW, **options: float) -> LoaderHarness:
    data = ServableData(ServableId("m", 1), FakeLoader(), revision="a")
    harness = LoaderHarness(data, RetryOptions(**options))
    harness.state = state
    return harness


@pytest.mark.parametrize(("state", "event"), list(itertools.product(HarnessState, HarnessEvent)))
def test_a_harness_moves_by_the_table_and_refuses_everything_else(state, event):
    harness = harness_in(state)
    expected = TRANSITIONS.get((state, event))

    if expected is None:
        with pytest.raises(FailedPreconditionError):
            harness.handle(event)
        assert harness.state is state
    else:
        harness.handle(event)
        assert harness.state is expected


def test_the_straight_life_of_a_version_visits_every_state_but_the_failed_ones():
    harness = harness_in()
    events = [
        "LOAD_REQUESTED",
        "LOAD_SUCCEEDED",
        "UNLOAD_REQUESTED",
        "LAST_HANDLE_RELEASED",
        "UNLOADED",
    ]

    for event in events:
        harness.handle(HarnessEvent[event])

    assert harness.state is HarnessState.DISABLED


def test_a_second_load_request_is_refused_in_the_words_of_the_reference():
    harness = harness_in(HarnessState.LOADING)

    with pytest.raises(FailedPreconditionError, match=r"^Duplicate load request$"):
        harness.handle(HarnessEvent.LOAD_REQUESTED)


@pytest.mark.parametrize("state", [HarnessState.NEW, HarnessState.QUIESCING, HarnessState.DISABLED])
def test_an_unload_request_out_of_turn_is_refused_in_the_words_of_the_reference(state):
    harness = harness_in(state)

    with pytest.raises(
        FailedPreconditionError, match=r"^Servable not loaded, or unload already requested/ongoing$"
    ):
        harness.handle(HarnessEvent.UNLOAD_REQUESTED)


def test_tries_are_retries_plus_one_and_the_last_failure_ends_the_round():
    harness = harness_in(max_num_load_retries=2, load_retry_interval_seconds=60.0)

    states = []
    for now in (0.0, 100.0, 200.0):
        harness.handle(HarnessEvent.LOAD_REQUESTED)
        harness.load_failed(ERROR, now)
        states.append(harness.state)
        if harness.state is HarnessState.RETRY_WAIT:
            harness.retry()

    assert states == [HarnessState.RETRY_WAIT, HarnessState.RETRY_WAIT, HarnessState.ERROR]
    assert harness.error is ERROR


def test_a_retry_is_due_one_interval_after_the_failure():
    harness = harness_in(HarnessState.LOADING, load_retry_interval_seconds=60.0)

    harness.load_failed(ERROR, now=100.0)

    assert harness.due == 160.0
    assert harness.progress == "try 1 of 6 failed"


def test_a_failure_of_a_version_that_nobody_wants_any_more_is_not_retried():
    harness = harness_in(HarnessState.LOADING)
    harness.is_aspired = False

    harness.load_failed(ERROR, now=0.0)

    assert harness.state is HarnessState.ERROR


def test_the_pause_between_rounds_doubles_up_to_its_cap():
    retry = RetryOptions(recreate_initial_seconds=10.0, recreate_max_seconds=60.0)

    delays = [retry.recreate_delay_seconds(rounds) for rounds in (1, 2, 3, 4, 5, 10_000)]

    assert delays == [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_another_round_has_all_its_tries_again_and_still_shows_the_last_error():
    harness = harness_in(HarnessState.LOADING, max_num_load_retries=1)
    harness.load_failed(ERROR, now=0.0)
    harness.retry()
    harness.handle(HarnessEvent.LOAD_REQUESTED)
    harness.load_failed(ERROR, now=0.0)
    assert harness.state is HarnessState.ERROR

    harness.retry()

    assert harness.error is ERROR
    harness.handle(HarnessEvent.LOAD_REQUESTED)
    harness.load_failed(ERROR, now=0.0)
    assert harness.state is HarnessState.RETRY_WAIT


def test_without_a_loader_there_is_nothing_to_try_again():
    harness = LoaderHarness(ServableData(ServableId("m", 1), error=ERROR), RetryOptions())

    harness.give_up(ERROR, now=0.0)

    assert harness.due is None


def failed_harness():
    harness = harness_in(HarnessState.LOADING, max_num_load_retries=0)
    harness.load_failed(ERROR, now=1000.0)
    return harness


def offered(revision):
    return ServableData(ServableId("m", 1), FakeLoader(), revision=revision)


def test_newer_content_that_stays_the_same_for_two_lists_is_tried_at_once():
    harness = failed_harness()
    newer = offered("b")

    assert not harness.offer(offered("b"))
    assert harness.offer(newer)

    assert harness.loader is newer.data
    assert harness.revision == "b"
    assert harness.due is not None
    assert harness.due < 0


def test_content_that_changes_with_every_list_does_not_hurry_the_retry():
    harness = failed_harness()
    due = harness.due

    taken = [harness.offer(offered(revision)) for revision in "bcdefg"]

    assert not any(taken)
    assert harness.due == due


def test_the_same_list_looked_at_twice_is_one_list():
    harness = failed_harness()
    newer = offered("b")

    assert not harness.offer(newer)
    assert not harness.offer(newer)


def test_content_instead_of_an_error_is_taken_at_once():
    harness = LoaderHarness(ServableData(ServableId("m", 1), error=ERROR), RetryOptions())
    harness.give_up(ERROR, now=0.0)

    assert harness.offer(offered("a"))


def test_repr_tells_the_state():
    harness = harness_in(HarnessState.QUIESCING)
    harness.is_aspired = False

    assert repr(harness) == "<LoaderHarness {name: m version: 1} quiescing unaspired>"
