"""The rows of status.models: the pods' reports, summed up."""

from datetime import timedelta

import pytest

from modelserver_operator.api import ModelServerStatus, VersionStatus
from modelserver_operator.reports import VersionReport
from modelserver_operator.status import is_same
from modelserver_operator.testing.observations import (
    MNIST,
    NOW,
    a_model,
    a_pod,
    a_report,
    a_server,
    a_version,
    an_observation,
    judge,
)

LATER = NOW + timedelta(minutes=5)
LATEST = NOW + timedelta(minutes=50)


def rows_of(found: ModelServerStatus, model: str = "mnist") -> tuple[VersionStatus, ...]:
    return next(listed.versions for listed in found.models if listed.name == model)


def merged(
    *versions: VersionReport | None,
    last: ModelServerStatus | None = None,
    unreachable: tuple[int, ...] = (),
) -> ModelServerStatus:
    """The status when each of these is what one more pod has; None is a pod that has none."""
    pods = [a_pod(f"web-{number}") for number in range(len(versions))]
    reports = [
        a_report(pod, a_model(*([version] if version else [])))
        for number, (pod, version) in enumerate(zip(pods, versions, strict=True))
        if number not in unreachable
    ]
    trouble = {pods[number].uid: "timed out" for number in unreachable}
    server = a_server(replicas=len(pods), status=last)
    return judge(an_observation(server, pods, reports, unreachable=trouble))


def row_of(*versions: VersionReport | None, **fields) -> VersionStatus:
    (row,) = rows_of(merged(*versions, **fields))
    return row


FAILED = a_version(1, "End", reason="LoadFailed", message="bad op")
DOWNLOADING = a_version(1, "Start", reason="Downloading", message="downloading")
MUTATED = a_version(1, reason="Mutated", message="saved_model.pb changed")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["Available", "Loading", "End"], "Available"),
        (["Start", "Loading"], "Loading"),
        (["Start", "Unloading"], "Start"),
        (["Unloading", "End"], "Unloading"),
        (["Available", "Unloading"], "Available"),
    ],
)
def test_the_state_is_the_furthest_that_any_pod_has(states: list[str], expected: str) -> None:
    versions = [a_version(1, state) for state in states]

    assert row_of(*versions).state == expected
    assert row_of(*reversed(versions)).state == expected


def test_a_version_that_every_pod_has_unloaded_has_no_row() -> None:
    gone = a_version(1, "End", reason="Unloaded")

    assert rows_of(merged(gone, gone)) == ()


def test_available_replicas_counts_the_pods_that_have_it_available() -> None:
    row = row_of(a_version(), a_version(), a_version(1, "Loading"))

    assert row.available_replicas == 2


def test_labels_are_those_of_any_pod_in_order() -> None:
    row = row_of(a_version(labels=("stable", "b")), a_version(labels=("a",)))

    assert row.labels == ("a", "b", "stable")


def test_a_failure_that_all_pods_share_is_told_once() -> None:
    row = row_of(FAILED, FAILED)

    assert (row.state, row.reason, row.message) == ("End", "LoadFailed", "bad op")


def test_a_failure_in_one_pod_is_told_with_its_name_beside_the_state_of_the_others() -> None:
    row = row_of(a_version(), FAILED)

    assert (row.state, row.reason, row.message) == ("Available", "LoadFailed", "pod web-1: bad op")


def test_a_version_that_failed_in_one_pod_shows_as_failed_while_others_load_it() -> None:
    row = row_of(a_version(1, "Loading"), FAILED)

    assert (row.state, row.reason) == ("End", "LoadFailed")


def test_a_failure_tells_more_than_an_upload() -> None:
    incomplete = a_version(1, "Start", reason="Incomplete", message="variables.index is missing")

    assert row_of(incomplete, FAILED).reason == "LoadFailed"


def test_a_version_that_is_being_downloaded_waits_for_that() -> None:
    row = row_of(DOWNLOADING)

    assert (row.state, row.reason, row.message) == ("Start", "Downloading", "downloading")


def test_a_download_in_one_pod_is_told_beside_the_state_of_the_others() -> None:
    row = row_of(a_version(), DOWNLOADING)

    told = ("Available", "Downloading", "pod web-1: downloading")
    assert (row.state, row.reason, row.message) == told


def test_a_download_that_failed_shows_as_a_failed_load_with_its_first_retry() -> None:
    failed = a_version(1, "Start", reason="LoadFailed", message="404", next_retry_time=LATER)

    row = row_of(failed)

    assert (row.state, row.reason, row.message) == ("End", "LoadFailed", "404")
    assert row.next_retry_time == LATER


def test_overwritten_files_in_one_pod_are_told_beside_the_state_of_all() -> None:
    row = row_of(a_version(), MUTATED)

    told = ("Available", "Mutated", "pod web-1: saved_model.pb changed")
    assert (row.state, row.reason, row.message) == told
    assert row.available_replicas == 2


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        pytest.param(FAILED, "LoadFailed", id="a pod that fails on what is there now"),
        pytest.param(DOWNLOADING, "Mutated", id="a pod that downloads what is there now"),
        pytest.param(
            a_version(1, "Start", reason="Incomplete"), "Mutated", id="an export that goes on"
        ),
    ],
)
def test_overwritten_files_yield_to_a_failure_only(other: VersionReport, reason: str) -> None:
    assert row_of(MUTATED, other).reason == reason
    assert row_of(other, MUTATED).reason == reason


def test_a_long_message_is_cut_to_256_characters() -> None:
    row = row_of(a_version(1, "End", reason="LoadFailed", message="x" * 999))

    assert len(row.message) == 256
    assert row.message.endswith("…")


def test_words_that_are_longer_than_the_schema_allows_are_cut() -> None:
    row = row_of(a_version(1, "S" * 99, reason="R" * 99, labels=("l" * 99,)))

    assert [len(word) for word in (row.state, row.reason, *row.labels)] == [63, 63, 63]


# Times.


def test_times_are_the_earliest_over_the_pods() -> None:
    early = a_version(first_seen_time=NOW, available_time=LATER)
    late = a_version(first_seen_time=LATER, available_time=LATEST)

    row = row_of(late, early)

    assert (row.first_seen_time, row.available_time) == (NOW, LATER)


def test_a_version_that_was_available_all_along_keeps_its_times_when_pods_are_replaced() -> None:
    last = merged(a_version(first_seen_time=NOW, available_time=NOW))

    row = row_of(a_version(first_seen_time=LATER, available_time=LATER), last=last)

    assert (row.first_seen_time, row.available_time) == (NOW, NOW)


def test_a_version_that_is_loaded_anew_becomes_available_anew() -> None:
    first = merged(a_version(available_time=NOW))
    between = merged(a_version(1, "Loading"), last=first)

    row = row_of(a_version(available_time=LATER), last=between)

    assert rows_of(between)[0].available_time is None
    assert row.available_time == LATER


# Retries: what repeats is no news.


def test_the_first_retry_has_its_time_and_later_ones_cause_no_write() -> None:
    first = merged(a_version(1, "End", reason="LoadFailed", next_retry_time=NOW))
    second = merged(a_version(1, "End", reason="LoadFailed", next_retry_time=LATER), last=first)
    third = merged(a_version(1, "End", reason="LoadFailed", next_retry_time=LATEST), last=second)

    assert rows_of(first)[0].next_retry_time == NOW
    assert rows_of(second)[0].next_retry_time is None
    assert is_same(second, third)


@pytest.mark.parametrize("state", ["Start", "Loading"])
def test_a_failed_version_stays_failed_while_a_pod_tries_again(state: str) -> None:
    failed = merged(FAILED)

    trying = merged(a_version(1, state), last=failed)

    assert is_same(trying, failed)


def test_a_failed_version_stays_failed_while_a_pod_downloads_it_again() -> None:
    failed = merged(a_version(1, "Start", reason="LoadFailed", message="404"))

    assert is_same(merged(DOWNLOADING, last=failed), failed)


def test_a_failed_version_whose_files_change_is_incomplete_again() -> None:
    incomplete = a_version(1, "Start", reason="Incomplete", message="a shard is missing")

    assert row_of(incomplete, last=merged(FAILED)).reason == "Incomplete"


def test_a_failed_version_that_loads_after_all_is_available() -> None:
    row = row_of(a_version(), last=merged(FAILED))

    assert (row.state, row.reason, row.message) == ("Available", "", "")


def test_a_pod_that_tries_again_beside_one_that_serves_leaves_the_failure_told() -> None:
    partly = merged(a_version(), FAILED)

    assert is_same(merged(a_version(), a_version(1, "Loading"), last=partly), partly)


def test_a_message_that_differs_in_numbers_only_causes_no_write() -> None:
    def uploading(megabytes: int) -> VersionReport:
        message = f"variables.data-00000-of-00001 has {megabytes} of 500 MB"
        return a_version(1, "Start", reason="Incomplete", message=message)

    first = merged(uploading(20))

    assert is_same(merged(uploading(480), last=first), first)


def test_a_message_about_another_file_is_news() -> None:
    def missing(name: str) -> VersionReport:
        return a_version(1, "Start", reason="Incomplete", message=f"{name} is missing")

    first = merged(missing("saved_model.pb"))

    assert row_of(missing("variables.index"), last=first).message == "variables.index is missing"


# Pods that say nothing.


def test_the_last_rows_stay_when_no_pod_answers() -> None:
    last = merged(a_version(), a_version())

    found = merged(a_version(), a_version(), last=last, unreachable=(0, 1))

    assert found.models == last.models


def test_the_last_rows_stay_after_a_restart_of_the_operator() -> None:
    last = merged(a_version(), a_version())
    server = a_server(replicas=2, status=last)

    found = judge(an_observation(server, reports=[]))

    assert found.models == last.models


def test_of_a_pod_that_does_not_answer_it_is_assumed_that_it_has_what_it_had() -> None:
    last = merged(a_version(), a_version())

    row = row_of(a_version(), a_version(), last=last, unreachable=(1,))

    assert row.available_replicas == 2


def test_a_version_stays_available_while_a_pod_that_does_not_answer_may_have_it() -> None:
    last = merged(a_version(), a_version())

    row = row_of(a_version(1, "Unloading"), a_version(), last=last, unreachable=(1,))

    assert (row.state, row.available_replicas) == ("Available", 1)


def test_of_a_pod_that_does_not_answer_it_is_assumed_that_it_serves_what_was_overwritten() -> None:
    last = merged(a_version(), MUTATED)

    one_is_silent = merged(a_version(), MUTATED, last=last, unreachable=(1,))
    all_are_silent = merged(a_version(), MUTATED, last=one_is_silent, unreachable=(0, 1))

    assert rows_of(one_is_silent) == rows_of(all_are_silent) == rows_of(last)


def test_files_that_were_overwritten_are_forgotten_once_every_pod_has_loaded_what_is_there() -> (
    None
):
    last = merged(a_version(), MUTATED)

    row = row_of(a_version(), a_version(), last=last)

    assert (row.reason, row.message) == ("", "")


def test_pods_that_are_gone_have_nothing() -> None:
    last = merged(a_version(), a_version())
    pods = [a_pod("web-0")]
    server = a_server(replicas=2, status=last)

    (row,) = rows_of(judge(an_observation(server, pods, [a_report(pods[0])])))

    assert row.available_replicas == 1


def test_a_version_that_is_in_no_report_is_gone_once_every_pod_has_reported() -> None:
    last = merged(a_version(), a_version())

    assert rows_of(merged(None, None, last=last)) == ()
    assert rows_of(merged(None, None, last=last, unreachable=(1,)))[0].available_replicas == 1


def test_a_crashed_pod_leaves_the_row_with_no_available_replica() -> None:
    last = merged(a_version())
    server = a_server(status=last)

    found = judge(an_observation(server, [a_pod("web-0", ready=False)], []))

    assert rows_of(found)[0].available_replicas == 0
    assert found.serving_versions == ""


def test_suspending_takes_the_rows_away() -> None:
    server = a_server(status=merged(a_version()), suspend=True)

    assert rows_of(judge(an_observation(server))) == ()


def test_reports_of_other_pods_are_ignored() -> None:
    pods = [a_pod("web-0"), a_pod("web-1", deleting=True), a_pod("web-2", phase="Failed")]
    stranger = a_pod("predecessor")
    reports = [a_report(pod, a_model(a_version(9))) for pod in (*pods[1:], stranger)]

    found = judge(an_observation(a_server(), pods, [a_report(pods[0]), *reports]))

    assert [row.version for row in rows_of(found)] == [1]
    assert (found.replicas, found.ready_replicas) == (1, 1)


def test_pods_on_an_older_config_still_count() -> None:
    pod = a_pod()

    found = judge(an_observation(a_server(), [pod], [a_report(pod, config_hash="old")]))

    assert [row.state for row in rows_of(found)] == ["Available"]


# Order and limits.


def test_models_come_in_the_order_of_the_spec_and_versions_newest_first() -> None:
    pod = a_pod()
    named = [a_model(a_version(2), a_version(10), name=name) for name in ("a", "gone", "b")]
    specs = [MNIST | {"name": "b"}, MNIST | {"name": "a"}, MNIST | {"name": "empty"}]

    found = judge(an_observation(a_server(models=specs), [pod], [a_report(pod, *named)]))

    listed = [(model.name, [row.version for row in model.versions]) for model in found.models]
    assert listed == [("b", [10, 2]), ("a", [10, 2]), ("empty", []), ("gone", [10, 2])]


def test_at_most_200_rows_are_kept_and_those_that_matter_first() -> None:
    pod = a_pod()
    waiting = [a_version(number, "Start") for number in range(100, 400)]
    important = [a_version(1), a_version(2, "End", reason="LoadFailed")]

    report = a_report(pod, a_model(*waiting, *important))
    found = judge(an_observation(a_server(), [pod], [report]))

    kept = [row.version for row in rows_of(found)]
    assert found.versions_truncated
    assert kept == [*range(399, 201, -1), 2, 1]


def test_many_models_share_the_rows_fairly() -> None:
    pod = a_pod()
    names = [f"m{number}" for number in range(4)]
    models = [a_model(*(a_version(n) for n in range(100)), name=name) for name in names[1:]]
    newer = [a_version(n, "Start") for n in range(100, 200)]
    models.append(a_model(*(a_version(n) for n in range(100)), *newer, name=names[0]))
    specs = [MNIST | {"name": name} for name in names]

    found = judge(an_observation(a_server(models=specs), [pod], [a_report(pod, *models)]))

    assert [len(model.versions) for model in found.models] == [50] * 4


def test_two_hundred_rows_are_not_truncated() -> None:
    pod = a_pod()
    report = a_report(pod, a_model(*(a_version(number) for number in range(200))))

    found = judge(an_observation(a_server(), [pod], [report]))

    assert not found.versions_truncated
    assert len(rows_of(found)) == 200
