"""Events: what a change of status is worth telling."""

import pytest

from modelserver_operator.api import ModelServerStatus, VersionStatus
from modelserver_operator.events import EventNote, transitions
from modelserver_operator.observed import ClaimSnapshot, LastExit
from modelserver_operator.plan import NameConflict
from modelserver_operator.reports import ConfigError, LabelReport, SourceReport, VersionReport
from modelserver_operator.testing.observations import (
    CONFIG_HASH,
    MNIST,
    a_model,
    a_pod,
    a_report,
    a_server,
    a_version,
    an_observation,
    judge,
)

POD = a_pod()
PAUSED = {"modelserver.dev/reconcile": "paused"}


def having(*versions: VersionReport, last: ModelServerStatus | None = None, **model):
    """The status of a server whose pod has these versions."""
    report = a_report(POD, a_model(*versions, **model))
    return judge(an_observation(a_server(status=last), [POD], [report]))


def with_pod(last: ModelServerStatus | None = None, **fields) -> ModelServerStatus:
    return judge(an_observation(a_server(status=last), [a_pod(ready=False, **fields)], []))


def short(notes: tuple[EventNote, ...]) -> list[tuple[str, str]]:
    return [(note.type, note.reason) for note in notes]


def failed(version: int, message: str = "bad op") -> VersionReport:
    return a_version(version, "End", reason="LoadFailed", message=message)


def test_a_version_that_appears_loads_and_becomes_available_is_told_in_two_events() -> None:
    first = having(a_version(1))
    second = having(a_version(1), a_version(2, "Loading"), last=first)
    third = having(a_version(1), a_version(2), last=second)

    assert transitions(first, second) == (
        EventNote("Normal", "VersionDiscovered", "Found mnist version 2."),
    )
    assert transitions(second, third) == (
        EventNote("Normal", "VersionAvailable", "mnist version 2 is available."),
    )


def test_a_version_that_is_available_at_first_sight_was_also_found() -> None:
    first = having(a_version(1))

    notes = transitions(first, having(a_version(1), a_version(2), last=first))

    assert [note.reason for note in notes] == ["VersionDiscovered", "VersionAvailable"]


def test_a_version_that_fails_is_told_with_its_message() -> None:
    first = having(a_version(1), a_version(2, "Loading"))

    notes = transitions(first, having(a_version(1), failed(2), last=first))

    assert notes == (
        EventNote("Warning", "VersionFailed", "mnist version 2 failed to load: bad op"),
    )


def test_a_retry_that_fails_again_is_not_told_again() -> None:
    first = having(failed(2))
    trying = having(a_version(2, "Loading"), last=first)
    again = having(failed(2), last=trying)

    assert transitions(first, trying) == ()
    assert transitions(trying, again) == ()


def test_a_version_that_is_gone_is_told_as_unloaded() -> None:
    first = having(a_version(1), a_version(2))
    unloading = having(a_version(1, "Unloading"), a_version(2), last=first)
    gone = having(a_version(2), last=unloading)

    assert short(transitions(first, unloading)) == []
    assert transitions(unloading, gone) == (
        EventNote("Normal", "VersionUnloaded", "mnist version 1 is unloaded."),
    )


def test_a_version_that_downloads_loads_and_becomes_available_is_told_like_any_other() -> None:
    first = having(a_version(1))
    coming = having(a_version(1), a_version(2, "Start", reason="Downloading"), last=first)
    loading = having(a_version(1), a_version(2, "Loading"), last=coming)
    there = having(a_version(1), a_version(2), last=loading)

    assert short(transitions(first, coming)) == [("Normal", "VersionDiscovered")]
    assert transitions(coming, loading) == ()
    assert short(transitions(loading, there)) == [("Normal", "VersionAvailable")]


def test_a_download_that_fails_is_told_once_with_its_message() -> None:
    first = having(a_version(1), a_version(2, "Start", reason="Downloading"))
    broken = a_version(2, "Start", reason="LoadFailed", message="404")
    second = having(a_version(1), broken, last=first)
    trying = having(a_version(1), a_version(2, "Start", reason="Downloading"), last=second)
    again = having(a_version(1), broken, last=trying)

    assert transitions(first, second) == (
        EventNote("Warning", "VersionFailed", "mnist version 2 failed to load: 404"),
    )
    assert transitions(second, trying) == transitions(trying, again) == ()


def test_files_that_are_overwritten_are_told_when_it_begins_and_by_no_other_event() -> None:
    fine = having(a_version(1), a_version(2))
    begun = having(a_version(1), a_version(2, reason="Mutated", message="changed"), last=fine)
    more = having(a_version(1, reason="Mutated"), a_version(2, reason="Mutated"), last=begun)
    over = having(a_version(1), a_version(2), last=more)

    assert short(transitions(fine, begun)) == [("Warning", "VersionMutated")]
    assert "mnist version 2" in transitions(fine, begun)[0].message
    assert transitions(begun, more) == transitions(more, over) == ()


def test_a_failed_version_that_is_deleted_was_never_loaded() -> None:
    first = having(a_version(1), failed(2))

    assert transitions(first, having(a_version(1), last=first)) == ()


def test_many_versions_of_a_model_are_one_event() -> None:
    first = having(a_version(1))
    many = having(*(a_version(number) for number in range(1, 31)), last=first)

    notes = transitions(first, many)

    assert len(notes) == 2
    assert notes[0].message == (
        "Found mnist versions 30, 29, 28, 27, 26, 25, 24, 23, 22, 21 and 19 more."
    )


def test_of_many_failures_three_are_told_in_full() -> None:
    first = having(a_version(1))

    notes = transitions(first, having(a_version(1), *map(failed, range(2, 12)), last=first))

    failures = [note.message for note in notes if note.reason == "VersionFailed"]
    assert len(failures) == 4
    assert failures[-1] == "mnist: 7 more versions failed to load."


def test_the_first_status_tells_no_versions() -> None:
    notes = transitions(ModelServerStatus(), having(a_version(1), failed(2)))

    assert short(notes) == [("Normal", "Ready")]


def test_a_restarted_operator_repeats_nothing() -> None:
    written = having(a_version(1), failed(2))
    read = ModelServerStatus.parse(written.to_json())

    assert transitions(read, having(a_version(1), failed(2), last=read)) == ()


def test_rows_beyond_the_limit_are_neither_found_nor_lost() -> None:
    rows = tuple(VersionStatus(version=n, state="Available") for n in range(2))
    full = having(a_version(1))
    listed = full.models[0]
    cut = full.model_copy(
        update={
            "versions_truncated": True,
            "models": (listed.model_copy(update={"versions": rows[:1]}),),
        }
    )
    other = cut.model_copy(update={"models": (listed.model_copy(update={"versions": rows[1:]}),)})

    assert [note.reason for note in transitions(cut, other)] == ["VersionAvailable"]


# Conditions.


def test_becoming_ready_and_ceasing_to_be_are_told() -> None:
    starting = with_pod()
    ready = having(a_version(1), last=starting)
    lost = with_pod(ready)

    assert ("Normal", "Ready") in short(transitions(starting, ready))
    assert ("Warning", "NotReady") in short(transitions(ready, lost))


def test_starting_is_no_event() -> None:
    assert transitions(ModelServerStatus(), with_pod()) == ()


def test_suspending_is_told_as_such_and_not_as_a_failure() -> None:
    ready = having(a_version(1))

    notes = transitions(ready, judge(an_observation(a_server(status=ready, suspend=True))))

    assert short(notes) == [("Normal", "VersionUnloaded"), ("Normal", "Suspended")]


def test_scaling_to_zero_is_told_as_such() -> None:
    ready = having(a_version(1))

    notes = transitions(ready, judge(an_observation(a_server(status=ready, replicas=0))))

    assert ("Normal", "ScaledToZero") in short(notes)
    assert "NotReady" not in [note.reason for note in notes]


@pytest.mark.parametrize(
    "reason", ["NotFound", "Forbidden", "CredentialsMissing", "Unavailable", "Unsupported"]
)
def test_a_source_that_cannot_be_read_is_told_and_so_is_its_recovery(reason: str) -> None:
    fine = having(a_version(1))
    source = SourceReport(accessible=False, reason=reason, message="says the pod")
    broken = having(a_version(1), source=source, last=fine)
    mended = having(a_version(1), last=broken)

    assert short(transitions(fine, broken)) == [("Warning", f"Source{reason}")]
    assert short(transitions(broken, mended)) == [("Normal", "SourceAccessible")]


@pytest.mark.parametrize(
    ("claim", "reason"), [(None, "ClaimNotFound"), (ClaimSnapshot(phase="Lost"), "ClaimLost")]
)
def test_a_claim_that_is_not_there_is_told(claim: ClaimSnapshot | None, reason: str) -> None:
    pod = a_pod(ready=False)

    found = judge(an_observation(a_server(), [pod], [], claims={"models": claim}))

    assert ("Warning", reason) in short(transitions(ModelServerStatus(), found))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"waiting_reason": "ErrImagePull"}, "ImagePullFailed"),
        ({"waiting_reason": "CreateContainerConfigError"}, "CreateContainerConfigError"),
        ({"last_exit": LastExit("Error", 1), "restart_count": 5}, "CrashLooping"),
        ({"last_exit": LastExit("OOMKilled", 137), "restart_count": 5}, "OOMKilled"),
        ({"unschedulable_message": "0/1 nodes: 1 Insufficient cpu."}, "Unschedulable"),
    ],
)
def test_pods_that_cannot_run_are_told_before_what_follows_from_it(fields, reason: str) -> None:
    starting = with_pod()

    notes = transitions(starting, with_pod(starting, **fields))

    assert short(notes) == [("Warning", reason), ("Warning", "NotReady")]


def test_a_recovered_workload_is_told() -> None:
    broken = with_pod(waiting_reason="ErrImagePull")

    notes = transitions(broken, having(a_version(1), last=broken))

    assert ("Normal", "WorkloadAvailable") in short(notes)


def test_pods_that_only_progress_are_no_event() -> None:
    ready = having(a_version(1))
    server = a_server(status=ready, replicas=3)

    assert transitions(ready, judge(an_observation(server, [POD], [a_report(POD)]))) == ()


def test_an_object_in_the_way_is_told_once_and_at_once() -> None:
    taken = NameConflict("Service", "web", "Service web is not ours")

    first = judge(an_observation(a_server()), conflicts=[taken])
    second = judge(an_observation(a_server(status=first)), conflicts=[taken])

    assert short(transitions(ModelServerStatus(), first)) == [("Warning", "NameConflict")]
    assert transitions(first, second) == ()


def test_a_refused_config_is_told_with_the_reason() -> None:
    fine = having(a_version(1))
    refused = ConfigError(CONFIG_HASH, "unknown platform")
    report = a_report(POD, config_hash="old", config_error=refused)

    notes = transitions(fine, judge(an_observation(a_server(status=fine), [POD], [report])))

    assert short(notes) == [("Warning", "ConfigRefused")]
    assert "unknown platform" in notes[0].message


def test_a_label_that_waits_is_told() -> None:
    fine = having(a_version(1))
    labelled = a_server(
        status=fine, models=[MNIST | {"labels": [{"name": "canary", "version": 2}]}]
    )
    report = a_report(POD, a_model(a_version(1), labels=(LabelReport("canary", 2, True),)))

    notes = transitions(fine, judge(an_observation(labelled, [POD], [report])))

    assert short(notes) == [("Normal", "LabelPending")]


def test_pods_that_stop_answering_are_told() -> None:
    fine = having(a_version(1))
    server = a_server(status=fine)

    notes = transitions(
        fine, judge(an_observation(server, [POD], [], unreachable={POD.uid: "timed out"}))
    )

    assert short(notes) == [("Warning", "PodsUnreachable")]
    assert "pod web-1" in notes[0].message


def test_pausing_and_going_on_are_told() -> None:
    fine = having(a_version(1))
    paused = judge(an_observation(a_server(status=fine, annotations=PAUSED)))
    resumed = judge(an_observation(a_server(status=paused)))

    assert short(transitions(fine, paused)) == [("Normal", "ReconcilePaused")]
    assert short(transitions(paused, resumed)) == [("Normal", "ReconcileResumed")]


def test_no_message_is_longer_than_events_allow() -> None:
    fine = having(a_version(1))
    source = SourceReport(accessible=False, reason="Forbidden", message="x" * 3000)

    notes = transitions(fine, having(failed(1, "y" * 3000), source=source, last=fine))

    assert notes
    assert max(len(note.message) for note in notes) <= 1024
