"""What keeps the port closed at start-up, and how it is told."""

import itertools
import threading

import pytest

from modelserver.config import ModelConfig, ModelList, ModelListFile, ServerConfig
from modelserver.core.servable import ServableId
from modelserver.core.state import ManagerState, ServableState
from modelserver.errors import DataLossError, NotFoundError
from modelserver.served_models import ServedModels
from modelserver.sources import SourceStatus
from modelserver.start_up import StartUp, describe_failures, describe_pending, is_on_its_way

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
BROKEN = DataLossError("saved_model.pb is truncated")


def states(*versions, **fields):
    return {
        version: ServableState(ServableId("m", version), state, health, message, **fields)
        for version, state, health, message in versions
    }


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param([(1, START, None, "")], True, id="waits-its-turn"),
        pytest.param([(1, LOADING, None, "")], True, id="loads"),
        pytest.param([(1, LOADING, BROKEN, "try 1 of 6 failed")], False, id="has-failed-once"),
        pytest.param([(1, START, None, "waiting for upload: x")], False, id="is-incomplete"),
        pytest.param([(1, END, BROKEN, "")], False, id="has-ended"),
        pytest.param([(1, END, BROKEN, ""), (2, LOADING, None, "")], True, id="another-one-loads"),
    ],
)
def test_a_model_is_waited_for_while_one_of_its_versions_may_still_become_good(versions, expected):
    assert is_on_its_way(states(*versions), SourceStatus(True), may_be_found=False) is expected


@pytest.mark.parametrize(("health", "expected"), [(None, True), (BROKEN, False)])
def test_a_version_that_is_fetched_is_waited_for_until_that_has_failed(health, expected):
    coming = states((1, START, health, "downloading 3 of 7 files"), is_coming=True)

    assert is_on_its_way(coming, SourceStatus(True), may_be_found=False) is expected


def test_a_version_that_is_fetched_is_waited_for_beside_one_that_is_incomplete():
    coming = states((1, START, None, "downloading"), is_coming=True)
    incomplete = states((2, START, None, "waiting for upload: x"))

    assert is_on_its_way(coming | incomplete, SourceStatus(True), may_be_found=False)


@pytest.mark.parametrize("may_be_found", [True, False])
def test_a_model_without_versions_is_waited_for_while_its_first_poll_may_run(may_be_found):
    assert is_on_its_way({}, SourceStatus(), may_be_found=may_be_found) is may_be_found


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(SourceStatus(False, NotFoundError("no such path")), id="cannot-be-looked-at"),
        pytest.param(SourceStatus(True, finds_nothing=True), id="is-empty"),
    ],
)
def test_a_model_without_versions_is_not_waited_for_once_its_source_says_so(source):
    assert not is_on_its_way({}, source, may_be_found=True)


def test_failures_are_listed_in_the_reference_s_words():
    failed = ServableState(ServableId("m", 1), END, BROKEN)

    assert describe_failures([failed]) == (
        "1 servable(s) did not become available: "
        "{{{name: m version: 1} due to error: saved_model.pb is truncated}, }"
    )


def test_what_is_awaited_is_described_with_states_messages_and_errors():
    waiting = states((2, START, None, "waiting for upload: x"), (1, END, BROKEN, ""))

    assert describe_pending("m", waiting, SourceStatus()) == (
        "m: version 2 START (waiting for upload: x), version 1 END (saved_model.pb is truncated)"
    )
    failing = states((1, START, BROKEN, "downloading"), is_coming=True)
    assert describe_pending("m", failing, SourceStatus()) == (
        "m: version 1 START (downloading) (saved_model.pb is truncated)"
    )
    assert describe_pending("m", {}, SourceStatus()) == "m: no version found yet"
    lost = SourceStatus(False, NotFoundError("no such path"))
    assert describe_pending("m", {}, lost) == "m: no such path"


def test_the_models_of_a_configuration_that_comes_late_are_waited_for(tmp_path):
    file = ModelListFile(tmp_path / "config.json", lambda content: ModelList())
    served = ServedModels(ServerConfig(model_list_file=file))
    served.start()
    stop, looks = threading.Event(), itertools.count()

    def is_configured():
        look = next(looks)
        if look == 1:
            served.apply(ModelList((ModelConfig("m", str(tmp_path / "empty"), "lookup"),)))
        if look == 3:
            stop.set()
        return look > 0

    has_opened = StartUp(served, is_configured, serve_partial=False).wait(stop)

    assert not has_opened
    assert served.stop()
