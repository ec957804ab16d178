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
        event = (
            HarnessEvent.RETRY_DUE
            if harness.state is HarnessState.RETRY_WAIT
            else HarnessEvent.LOAD_REQUESTED
        )
        harness.handle(event)
        harness.load_failed(ERROR, now)
        states.append(harness.state)

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


def test_a_recreated_version_gets_all_its_tries_again():
    harness = harness_in(HarnessState.LOADING, max_num_load_retries=1)
    harness.load_failed(ERROR, now=0.0)
    harness.handle(HarnessEvent.RETRY_DUE)
    harness.load_failed(ERROR, now=0.0)

    harness.recreate()
    harness.handle(HarnessEvent.LOAD_REQUESTED)
    harness.load_failed(ERROR, now=0.0)

    assert harness.state is HarnessState.RETRY_WAIT


def test_newer_content_forgets_the_failures_of_the_older_and_is_due_at_once():
    harness = harness_in(HarnessState.LOADING, max_num_load_retries=0)
    harness.load_failed(ERROR, now=1000.0)
    newer = ServableData(harness.id, FakeLoader(), revision="b")

    harness.adopt(newer)

    assert harness.loader is newer.data
    assert harness.revision == "b"
    assert harness.due is not None
    assert harness.due < 0


def test_repr_tells_the_state():
    harness = harness_in(HarnessState.QUIESCING)
    harness.is_aspired = False

    assert repr(harness) == "<LoaderHarness {name: m version: 1} quiescing unaspired>"
