"""The pod's report, from snapshots."""

import json
from dataclasses import replace

import pytest

from modelserver.admin import (
    ConfigError,
    ConfigSnapshot,
    ModelSnapshot,
    ServerSnapshot,
    SourceSnapshot,
    build_report,
)
from modelserver.core.servable import ServableId
from modelserver.core.state import ManagerState, ServableState
from modelserver.errors import (
    DataLossError,
    FailedPreconditionError,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
BROKEN = DataLossError("saved_model.pb is truncated")
UNREACHABLE = UnavailableError("no route to the bucket")
EPOCH = 1_700_000_000.0


def state(version, manager_state=AVAILABLE, health=None, message="", **times):
    times = {"first_seen_time": EPOCH} | times
    return ServableState(ServableId("m", version), manager_state, health, message, **times)


def model(*states, **fields):
    return ModelSnapshot("m", "/models/m", states={s.id.version: s for s in states}, **fields)


def report(*models, is_ready=True, **fields):
    snapshot = ServerSnapshot(models=models, **fields)
    return json.loads(build_report(snapshot, is_ready=is_ready).body)


def row(version_state):
    return report(model(version_state))["models"][0]["versions"][0]


def test_a_report_says_who_speaks_and_what_is_in_force():
    found = report(
        server_version="0.1.0",
        accepted_config_schemas=(1,),
        pod_name="mnist-0",
        pod_uid="uid-0",
        config=ConfigSnapshot("0011", ConfigError("2233", "models: a list is expected")),
        is_draining=True,
        is_ready=False,
    )

    del found["progress"]
    assert found == {
        "schemaVersion": 1,
        "acceptedConfigSchemas": [1],
        "serverVersion": "0.1.0",
        "podName": "mnist-0",
        "podUid": "uid-0",
        "configHash": "0011",
        "configError": {"hash": "2233", "message": "models: a list is expected"},
        "ready": False,
        "draining": True,
        "models": [],
    }


def test_a_version_has_its_state_its_labels_and_its_times():
    version = state(2, available_time=EPOCH + 61.9)

    found = report(model(version, labels={"stable": 2, "canary": 2, "old": 1}))

    assert found["models"][0]["versions"] == [
        {
            "version": 2,
            "state": "Available",
            "reason": "",
            "message": "",
            "labels": ["canary", "stable"],
            "firstSeenTime": "2023-11-14T22:13:20Z",
            "availableTime": "2023-11-14T22:14:21Z",
            "nextRetryTime": None,
            "storage": {
                "uri": None,
                "bytes": None,
                "files": None,
                "cacheHit": None,
                "secondsToAvailable": 61.9,
            },
        }
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(state(1, START), ("Start", "", ""), id="waits-its-turn"),
        pytest.param(
            state(1, START, message="waiting for upload: x"),
            ("Start", "Incomplete", "waiting for upload: x"),
            id="incomplete",
        ),
        pytest.param(
            state(1, START, message="downloading 3 of 7 files", is_coming=True),
            ("Start", "Downloading", "downloading 3 of 7 files"),
            id="downloads",
        ),
        pytest.param(
            state(1, START, UNREACHABLE, "downloading 3 of 7 files", is_coming=True),
            ("Start", "LoadFailed", "no route to the bucket (downloading 3 of 7 files)"),
            id="waits-for-another-try-to-download",
        ),
        pytest.param(state(1, LOADING), ("Loading", "", ""), id="loads"),
        pytest.param(
            state(1, LOADING, BROKEN, "try 1 of 6 failed"),
            ("Loading", "LoadFailed", "saved_model.pb is truncated (try 1 of 6 failed)"),
            id="waits-for-another-try",
        ),
        pytest.param(state(1, UNLOADING), ("Unloading", "", ""), id="unloads"),
        pytest.param(state(1, END), ("End", "Unloaded", ""), id="unloaded"),
        pytest.param(
            state(1, END, BROKEN), ("End", "LoadFailed", "saved_model.pb is truncated"), id="failed"
        ),
        pytest.param(
            state(1, AVAILABLE, BROKEN),
            ("Available", "LoadFailed", "saved_model.pb is truncated"),
            id="serves-while-what-replaces-it-fails",
        ),
    ],
)
def test_each_state_has_its_words(version, expected):
    found = row(version)

    assert (found["state"], found["reason"], found["message"]) == expected


@pytest.mark.parametrize(
    "failed",
    [
        pytest.param(state(1, END, BROKEN, retry_time=EPOCH + 10), id="load"),
        pytest.param(
            state(1, START, UNREACHABLE, "downloading", is_coming=True, retry_time=EPOCH + 10),
            id="download",
        ),
    ],
)
def test_a_failed_version_says_when_it_is_tried_again(failed):
    assert row(failed)["nextRetryTime"] == "2023-11-14T22:13:30Z"


def test_a_label_is_pending_until_its_version_is_available_and_is_shown_where_it_points():
    labels = {"stable": 1}
    moving = model(
        state(2, LOADING), state(1), requested_labels={"stable": 2, "canary": 3}, labels=labels
    )

    found = report(moving)["models"][0]

    assert found["labels"] == [
        {"name": "canary", "version": 3, "pending": True},
        {"name": "stable", "version": 2, "pending": True},
    ]
    assert [(r["version"], r["labels"]) for r in found["versions"]] == [(2, []), (1, ["stable"])]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotFoundError("gone"), "NotFound"),
        (UnauthenticatedError("gone"), "CredentialsMissing"),
        (PermissionDeniedError("gone"), "Forbidden"),
        (FailedPreconditionError("gone"), "Forbidden"),
        (UnavailableError("gone"), "Unavailable"),
        (UnimplementedError("gone"), "Unsupported"),
        (InternalError("gone"), "Unavailable"),
    ],
)
def test_a_source_that_cannot_be_looked_at_has_a_reason_and_a_message(error, reason):
    found = report(model(source=SourceSnapshot(False, error)))["models"][0]

    assert found["source"] == {"accessible": False, "reason": reason, "message": "gone"}


@pytest.mark.parametrize("is_accessible", [None, True])
def test_a_source_that_can_be_looked_at_may_have_something_to_say(is_accessible):
    found = report(model(source=SourceSnapshot(is_accessible, message="nothing there")))

    expected = {"accessible": is_accessible, "reason": "", "message": "nothing there"}
    assert found["models"][0]["source"] == expected


def test_messages_are_cut_to_what_a_status_may_carry_and_hold_no_broken_text():
    found = row(state(1, END, InternalError("\udcff" + "x" * 1000)))

    assert len(found["message"]) == 256
    assert found["message"].startswith("\\udcff")
    assert found["message"].endswith("…")


def test_the_tag_is_weak_and_stays_while_only_progress_changes():
    snapshot = ServerSnapshot(models=(model(state(1)),))
    later = replace(snapshot, uptime_seconds=100.0, calls_in_flight=7)

    first, second = (build_report(s, is_ready=True) for s in (snapshot, later))

    assert first.etag.startswith('W/"')
    assert first.etag == second.etag
    assert first.body != second.body


@pytest.mark.parametrize(
    "change",
    [
        {"is_draining": True},
        {"config": ConfigSnapshot("0011")},
        {"models": (model(state(1), state(2, LOADING)),)},
        {"models": (model(state(1), source=SourceSnapshot(False, NotFoundError("gone"))),)},
    ],
)
def test_the_tag_changes_when_something_happens(change):
    snapshot = ServerSnapshot(models=(model(state(1)),))

    before = build_report(snapshot, is_ready=True)
    after = build_report(replace(snapshot, **change), is_ready=True)

    assert before.etag != after.etag
    assert before.etag != build_report(snapshot, is_ready=False).etag
