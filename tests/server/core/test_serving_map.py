import threading

import pytest

from modelserver.core.servable import ServableId, ServableRequest
from modelserver.core.serving_map import ServingMap, ServingVersion, resolve_labels
from modelserver.errors import InvalidArgumentError, NotFoundError


def version(number: int, name: str = "m", on_last_release=lambda: None) -> ServingVersion:
    return ServingVersion(ServableId(name, number), f"servable-{number}", on_last_release)


def map_of(*versions: ServingVersion) -> ServingMap:
    serving = ServingMap()
    for each in versions:
        serving.add(each)
    return serving


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ServableRequest.latest("m"), 3),
        (ServableRequest.earliest("m"), 1),
        (ServableRequest.specific("m", 2), 2),
        (ServableRequest.labelled("m", "stable"), 1),
    ],
)
def test_a_request_finds_the_version_it_means(request_, expected):
    serving = map_of(version(2), version(3), version(1), version(9, "other"))
    serving.set_labels("m", {"stable": 1})

    with serving.acquire(request_) as handle:
        assert handle.id == ServableId("m", expected)
        assert handle.servable == f"servable-{expected}"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ServableRequest.latest("x"), r"Servable not found for request: Latest\(x\)"),
        (ServableRequest.earliest("x"), r"Servable not found for request: Earliest\(x\)"),
        (ServableRequest.specific("m", 7), r"Servable not found for request: Specific\(m, 7\)"),
        (ServableRequest.specific("x", 7), r"Servable not found for request: Specific\(x, 7\)"),
    ],
)
def test_what_is_not_available_is_not_found_in_the_words_of_the_reference(request_, message):
    serving = map_of(version(1))

    with pytest.raises(NotFoundError, match=f"^{message}$"):
        serving.acquire(request_)


def test_an_unknown_label_is_refused_in_the_words_of_the_reference():
    serving = map_of(version(1))

    with pytest.raises(
        InvalidArgumentError, match=r"^Unrecognized servable version label: canary$"
    ):
        serving.acquire(ServableRequest.labelled("m", "canary"))


def test_a_removed_version_cannot_be_claimed_any_more_but_held_handles_stay_good():
    newest = version(2)
    serving = map_of(version(1), newest)
    handle = serving.acquire(ServableRequest.latest("m"))

    serving.remove(newest)
    newest.close()

    assert handle.servable == "servable-2"
    with serving.acquire(ServableRequest.latest("m")) as next_handle:
        assert next_handle.id.version == 1
    handle.release()


def test_the_last_release_after_the_close_is_told_once():
    told = []
    one = version(1, on_last_release=lambda: told.append("released"))
    first, second = one.acquire(), one.acquire()

    one.close()
    first.release()
    assert told == []
    second.release()
    second.release()

    assert told == ["released"]


def test_closing_a_version_without_handles_tells_at_once():
    told = []

    version(1, on_last_release=lambda: told.append("released")).close()

    assert told == ["released"]


def test_a_closed_version_gives_no_handle():
    one = version(1)
    one.close()

    assert one.acquire() is None


def test_a_handle_that_is_dropped_without_release_warns():
    one = version(1)

    with pytest.warns(ResourceWarning, match="was never released"):
        one.acquire()


@pytest.mark.parametrize(
    ("requested", "current", "available", "expected"),
    [
        pytest.param({"s": 1}, {}, [1], {"s": 1}, id="points-at-an-available-version"),
        pytest.param(
            {"s": 2}, {"s": 1}, [1], {"s": 1}, id="stays-until-the-new-version-is-available"
        ),
        pytest.param({"s": 2}, {"s": 1}, [1, 2], {"s": 2}, id="moves-when-it-is"),
        pytest.param({"s": 2}, {}, [1], {"s": 2}, id="a-new-label-points-at-what-is-not-there-yet"),
        pytest.param({}, {"s": 1}, [1], {}, id="a-label-left-out-is-gone"),
        pytest.param(
            {"s": 1, "c": 2}, {"s": 1}, [1], {"s": 1, "c": 2}, id="labels-are-independent"
        ),
    ],
)
def test_labels_move_when_their_version_is_available(requested, current, available, expected):
    assert resolve_labels(requested, current, dict.fromkeys(available)) == expected


def test_a_label_of_an_unloaded_version_finds_nothing():
    labelled = version(1)
    serving = map_of(labelled, version(2))
    serving.set_labels("m", {"stable": 1})

    serving.remove(labelled)

    with pytest.raises(NotFoundError):
        serving.acquire(ServableRequest.labelled("m", "stable"))


def test_readers_on_many_threads_never_see_a_gap_while_versions_change():
    newest = version(0)
    serving = map_of(newest)
    failures = []
    is_done = threading.Event()

    def read() -> None:
        while not is_done.is_set():
            try:
                serving.acquire(ServableRequest.latest("m")).release()
            except NotFoundError as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(1, 300):
        previous, newest = newest, version(number)
        serving.add(newest)
        serving.remove(previous)
        previous.close()
    is_done.set()
    for reader in readers:
        reader.join()

    assert failures == []
    assert serving.ids() == [ServableId("m", 299)]


def test_a_version_of_the_same_number_takes_the_place_of_one_that_is_removed_later():
    first, second = version(1), ServingVersion(ServableId("m", 1), "other", lambda: None)
    serving = map_of(first)

    serving.add(second)
    serving.remove(first)

    with serving.acquire(ServableRequest.latest("m")) as handle:
        assert handle.servable == "other"
