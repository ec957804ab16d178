import logging
import threading
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import pytest

from modelserver.core.monitor import ServableStateMonitor
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.core.state import HeldBack, ManagerState, ServableState
from modelserver.core.storage_path import StoragePath
from modelserver.errors import (
    FailedPreconditionError,
    NotFoundError,
    ServingError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.watch import (
    HANGS_AFTER_SECONDS,
    ServableWatch,
    SourceStatus,
    WatchContext,
)
from modelserver.testing.clock import ManualClock
from modelserver.testing.storage import MemoryStorage

LOGGER = "modelserver.sources.watch"


def missing_files(path: StoragePath) -> list[str]:
    return [] if "model" in path.files else ["model"]


class Scene:
    """A watch on /base with everything around it, polled in the test's own thread."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.emitted: list[list[int]] = []
        self.fetched_before: list[list[str]] = []
        """What had to be here when the target heard."""
        self.held_back: list[Mapping[int, HeldBack]] = []
        self.polled_soon: list[str] = []
        self.loaded: dict[ServableId, Hashable] = {}
        self.target_error: Exception | None = None
        servable = MonitoredServable("m", "/base", missing_files)
        self.clock = ManualClock()
        context = WatchContext(
            self.storage,
            self.clock,
            self.receive,
            self.report,
            True,
            self.loaded.get,
            self.polled_soon.append,
        )
        self.watch = ServableWatch(servable, context)

    def receive(self, name: str, versions: Sequence[ServableData[StoragePath]]) -> None:
        assert name == "m"
        if self.target_error is not None:
            raise self.target_error
        self.emitted.append([data.id.version for data in versions])
        self.fetched_before.append(self.storage.wanted["m"])

    def report(self, name: str, held_back: Mapping[int, HeldBack]) -> None:
        assert name == "m"
        self.held_back.append(held_back)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_each_poll_states_the_whole_list_and_everything_held_back(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.watch.poll()
    scene.storage.write("/base/2/part")
    scene.watch.poll()
    scene.storage.write("/base/3/part")
    scene.watch.poll()

    waiting = HeldBack("waiting for upload: model")
    assert scene.emitted == [[1], [1], [1]]
    assert scene.held_back == [{}, {2: waiting}, {3: waiting, 2: waiting}]


def test_a_version_that_is_emitted_is_reported_as_held_back_once_more(scene: Scene) -> None:
    scene.storage.write("/base/2/part")
    scene.watch.poll()
    scene.storage.write("/base/2/model")
    scene.watch.poll()
    scene.watch.poll()

    waiting = HeldBack("waiting for upload: model")
    assert scene.emitted == [[2], [2]]
    assert scene.held_back == [{2: waiting}, {2: waiting}, {}]


def test_no_moment_passes_in_which_a_version_let_go_is_unknown_to_the_monitor() -> None:
    storage, monitor = MemoryStorage(), ServableStateMonitor()
    servable = MonitoredServable("m", "/base", missing_files)
    context = WatchContext(
        storage, ManualClock(), lambda name, versions: None, monitor.report_held_back, True
    )
    watch = ServableWatch(servable, context)
    failed = ServableState(ServableId("m", 1), ManagerState.END, NotFoundError("bad"))
    monitor.publish(failed)
    storage.write("/base/2/part")
    watch.poll()

    storage.write("/base/2/model")
    watch.poll()  # and the target has not said START yet
    result = monitor.wait_until_reached([ServableRequest.latest("m")], timeout=0.0)

    assert not result.failed


def test_a_missing_base_path_is_an_error_in_the_words_of_the_reference(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.watch.poll()

    expected = "Could not find base path /base for servable m with error NOT_FOUND: /base not found"
    assert scene.emitted == []
    assert str(scene.watch.error) == expected
    assert expected in messages(caplog, logging.ERROR)[0]


def test_a_failed_listing_emits_nothing_and_the_next_good_one_does(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.watch.poll()
    scene.storage.fail("/base", UnavailableError("/base; Stale file handle"))
    scene.watch.poll()
    during_outage = (list(scene.emitted), str(scene.watch.error))
    scene.storage.fail("/base", None)
    scene.watch.poll()

    assert during_outage == ([[1]], "/base; Stale file handle")
    assert scene.emitted == [[1], [1]]
    assert scene.watch.error is None


def test_a_failure_is_logged_once_until_it_changes(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for text in ["first", "first", "first", "second", "second"]:
        scene.storage.fail("/base", UnavailableError(text))
        scene.watch.poll()

    logged = messages(caplog, logging.ERROR)

    assert [text.rsplit(": ", 1)[1] for text in logged] == ["first", "second"]


def test_an_empty_base_path_is_warned_of_once_until_it_changes(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    warning = (
        "No versions of servable m found under base path /base. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )
    scene.storage.make_directory("/base")
    scene.watch.poll()
    scene.watch.poll()
    first = messages(caplog, logging.WARNING)
    scene.storage.write("/base/1/model")
    scene.watch.poll()
    scene.storage.remove("/base/1")
    for _ in range(3):
        scene.watch.poll()
        scene.clock.advance(1.0)

    assert first == [warning]
    assert messages(caplog, logging.WARNING) == [
        warning,
        "Version 1 of servable m is no longer listed under /base: "
        "it is unloaded if the next poll does not find it either",
        warning,
        "Refusing to unload all versions for Servable: m",
    ]


def test_aspired_versions_are_logged_at_info_when_they_change_else_at_debug(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    scene.storage.write("/base/1/model")

    scene.watch.poll()
    scene.watch.poll()

    text = "Aspiring version for servable m version 1 from path: /base/1"
    assert messages(caplog, logging.INFO) == [text]
    assert messages(caplog, logging.DEBUG) == [text]


def test_a_held_back_version_is_logged_when_its_reason_changes(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    scene.storage.write("/base/1/part")

    scene.watch.poll()
    scene.watch.poll()

    assert messages(caplog, logging.INFO) == [
        "Holding back version 1 of servable m: waiting for upload: model"
    ]


def test_a_target_that_raises_does_not_end_the_polling(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.storage.write("/base/1/model")
    scene.target_error = ValueError("bug in the target")
    scene.watch.poll()
    scene.target_error = None
    scene.watch.poll()

    assert scene.emitted == [[1]]
    assert "ValueError: bug in the target" in messages(caplog, logging.ERROR)[0]


def test_a_retired_watch_tells_nothing_more(scene: Scene) -> None:
    scene.storage.write("/base/1/model")

    scene.watch.retire()
    scene.watch.poll()

    assert scene.emitted == []
    assert scene.held_back == []


def test_nothing_is_known_of_a_source_before_its_first_poll(scene: Scene) -> None:
    assert scene.watch.status == SourceStatus()


def test_a_source_that_was_looked_at_is_accessible(scene: Scene) -> None:
    scene.storage.write("/base/1/model")

    scene.watch.poll()

    assert scene.watch.status == SourceStatus(True)


def test_a_source_without_versions_says_what_was_looked_for(scene: Scene) -> None:
    scene.storage.make_directory("/base")

    scene.watch.poll()

    assert scene.watch.status.is_accessible is True
    assert scene.watch.status.finds_nothing
    assert "No versions of servable m found under base path /base" in scene.watch.status.warnings[0]


def test_a_source_with_a_version_that_is_held_back_is_not_empty(scene: Scene) -> None:
    scene.storage.write("/base/1/part")

    scene.watch.poll()

    assert not scene.watch.status.finds_nothing


def test_a_source_that_fails_is_not_accessible_until_it_is_again(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.storage.fail("/base", error := UnavailableError("the network is down"))
    scene.watch.poll()
    assert scene.watch.status == SourceStatus(False, error)

    scene.storage.fail("/base", None)
    scene.watch.poll()
    assert scene.watch.status == SourceStatus(True)


def test_a_source_that_hangs_is_told_in_words_that_stay_the_same(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    hang = scene.storage.hang("/base")
    polling = threading.Thread(target=scene.watch.poll)
    polling.start()
    assert hang.entered.wait(20)
    scene.clock.advance(HANGS_AFTER_SECONDS - 1)
    assert scene.watch.status == SourceStatus()

    scene.clock.advance(1)
    first = scene.watch.status
    scene.clock.advance(1000)
    second = scene.watch.status
    hang.release.set()
    polling.join(20)

    assert isinstance(first.error, UnavailableError)
    assert str(first.error) == str(second.error)
    assert "/base" in str(first.error)
    assert scene.watch.status == SourceStatus(True)


def test_a_source_that_is_refused_is_not_looked_at_and_what_it_had_stands(scene: Scene) -> None:
    refused = replace(scene.watch.servable, refusal="gs:// is not in this release")
    scene.watch.servable = refused

    scene.watch.poll()

    assert isinstance(scene.watch.status.error, UnimplementedError)
    assert str(scene.watch.status.error) == "gs:// is not in this release"
    assert scene.storage.list_calls == {}
    assert scene.emitted == []


# Whether there was an answer…


@pytest.mark.parametrize(
    ("error", "is_answered"),
    [
        (None, True),
        (UnavailableError("/base; Stale file handle"), False),
        (NotFoundError("/base not found"), True),
        (FailedPreconditionError("/base; Permission denied"), True),
    ],
)
def test_a_poll_is_without_an_answer_only_where_the_storage_does_not_answer(
    scene: Scene, error: ServingError | None, is_answered: bool
) -> None:
    scene.storage.write("/base/1/model")
    scene.storage.fail("/base", error)

    assert scene.watch.poll() is is_answered


def test_a_bug_in_the_target_is_no_missing_answer(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.target_error = ValueError("bug in the target")

    assert scene.watch.poll() is True


def test_a_version_that_cannot_be_listed_is_asked_for_again_soon(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.storage.fail("/base/1", UnavailableError("/base/1; Stale file handle"))

    assert scene.watch.poll() is False
    scene.storage.fail("/base/1", None)
    assert scene.watch.poll() is True


def test_a_download_that_fails_has_a_time_of_its_own_and_is_no_missing_answer(
    scene: Scene,
) -> None:
    scene.storage.write("/base/1/model")
    why = HeldBack("it is tried again", error=UnavailableError("cut off"), retry_time=5.0)
    scene.storage.keep_away("/base/1", why)

    assert scene.watch.poll() is True


def test_missing_credentials_are_looked_for_again_soon(scene: Scene) -> None:
    scene.storage.fail("/base", UnauthenticatedError("no credentials"))

    assert scene.watch.poll() is False


# What has to be fetched…


COMING = HeldBack("downloading", is_coming=True)


def test_the_storage_is_told_what_has_to_be_here_before_the_target_hears(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.watch.poll()
    scene.storage.write("/base/2/model")
    scene.storage.keep_away("/base/2", COMING)
    scene.watch.poll()
    scene.storage.arrive("/base/2")
    scene.watch.poll()

    assert scene.emitted == [[1], [1], [2]]
    assert scene.fetched_before == [["/base/1"], ["/base/2", "/base/1"], ["/base/2"]]


def test_what_has_to_be_here_is_told_though_there_is_nothing_to_emit(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.storage.keep_away("/base/1", COMING)

    scene.watch.poll()

    assert scene.emitted == []
    assert scene.storage.wanted == {"m": ["/base/1"]}
    assert scene.held_back == [{1: COMING}]


def test_a_poll_that_fails_changes_nothing_about_what_has_to_be_here(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.watch.poll()
    scene.storage.fail("/base", UnavailableError("/base; Stale file handle"))

    scene.watch.poll()

    assert scene.storage.wanted == {"m": ["/base/1"]}


def test_another_poll_is_asked_for_when_something_has_arrived(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.storage.keep_away("/base/1", COMING)
    scene.watch.poll()
    before = list(scene.polled_soon)

    scene.storage.arrive("/base/1")

    assert before == []
    assert scene.polled_soon == ["m"]


def test_a_retired_watch_has_nothing_fetched(scene: Scene) -> None:
    scene.storage.write("/base/1/model")

    scene.watch.retire()
    scene.watch.poll()

    assert scene.storage.wanted == {}


def test_a_version_that_has_arrived_is_reported_as_coming_once_more(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.storage.keep_away("/base/1", COMING)
    scene.watch.poll()
    scene.storage.arrive("/base/1")
    scene.watch.poll()
    scene.watch.poll()

    assert scene.emitted == [[1], [1]]
    assert scene.held_back == [{1: COMING}, {1: COMING}, {}]


def test_a_source_with_a_version_that_is_coming_is_not_empty(scene: Scene) -> None:
    scene.storage.write("/base/1/model")
    scene.storage.keep_away("/base/1", COMING)

    scene.watch.poll()

    assert scene.watch.status == SourceStatus(True)


def test_a_coming_version_is_logged_when_its_words_change_and_not_when_its_times_do(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    scene.storage.write("/base/1/model")
    error = UnavailableError("no route")
    for why in [COMING, replace(COMING, error=error), replace(COMING, error=error, retry_time=9.0)]:
        scene.storage.keep_away("/base/1", why)
        scene.watch.poll()
        scene.watch.poll()

    assert messages(caplog, logging.INFO) == [
        "Holding back version 1 of servable m: downloading",
        "Holding back version 1 of servable m: downloading: no route",
    ]


# Content that was overwritten…


def overwrite(scene: Scene) -> None:
    """Poll a version that is loaded, and put other content in its place."""
    scene.storage.write("/base/1/model")
    scene.watch.poll()
    scene.loaded[ServableId("m", 1)] = scene.watch.state.aspired[1].revision
    scene.storage.write("/base/1/model")


def test_a_version_that_was_overwritten_is_told_in_the_status(scene: Scene) -> None:
    overwrite(scene)

    scene.watch.poll()

    assert scene.watch.status == SourceStatus(True, mutated=frozenset({1}))


def test_a_version_that_was_overwritten_is_warned_of_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    overwrite(scene)

    scene.watch.poll()
    scene.watch.poll()

    assert messages(caplog, logging.WARNING) == [
        "Version 1 of servable m was overwritten after it was loaded. What was loaded serves on; "
        "export under a new number instead"
    ]


def test_what_is_known_of_an_overwritten_version_outlasts_a_change_of_what_is_watched(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    overwrite(scene)
    scene.watch.poll()
    successor = ServableWatch(scene.watch.servable, scene.watch._context)
    successor.succeed(scene.watch)

    successor.poll()

    assert successor.status.mutated == {1}
    assert len(messages(caplog, logging.WARNING)) == 1
