"""The pod's report: what the server writes is what the operator reads."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

from modelserver.admin import (
    ConfigError,
    ConfigSnapshot,
    ModelSnapshot,
    ServerSnapshot,
    SourceSnapshot,
    build_report,
)
from modelserver.config_document import ACCEPTED_SCHEMAS
from modelserver.config_watch import hash_of
from modelserver.core.servable import ServableId
from modelserver.core.state import ManagerState, ServableState
from modelserver.core.storage_totals import CacheFill, StorageTotals
from modelserver.core.stored_version import StoredVersion, Transfer
from modelserver.errors import DataLossError, NotFoundError, UnavailableError
from modelserver_operator import admin_client, reports

EPOCH = 1_700_000_000


def state(version, manager_state, health=None, message="", **times):
    times = {"first_seen_time": EPOCH} | times
    return ServableState(ServableId("mnist", version), manager_state, health, message, **times)


VERSIONS = (
    state(3, ManagerState.LOADING, DataLossError("broken"), "try 1 of 6", retry_time=EPOCH + 60.0),
    state(2, ManagerState.AVAILABLE, available_time=EPOCH + 5.0),
    state(1, ManagerState.START, message="waiting for upload: variables"),
)
SNAPSHOT = ServerSnapshot(
    server_version="0.1.0",
    accepted_config_schemas=ACCEPTED_SCHEMAS,
    pod_name="mnist-0",
    pod_uid="uid-0",
    config=ConfigSnapshot("0011", ConfigError("2233", "models: a list is expected")),
    is_accepting=True,
    models=(
        ModelSnapshot(
            "mnist",
            "/mnt/modelserver/claims/c/mnist",
            SourceSnapshot(True),
            {version.id.version: version for version in VERSIONS},
            {"stable": 2, "canary": 3},
            {"stable": 2},
        ),
        ModelSnapshot("lost", "/lost", SourceSnapshot(False, NotFoundError("no such path"))),
        ModelSnapshot("new", "/new"),
    ),
)


def parse(snapshot=SNAPSHOT, *, is_ready=True):
    return reports.parse_report(build_report(snapshot, is_ready=is_ready).body)


def at(seconds):
    return datetime.fromtimestamp(EPOCH + seconds, UTC)


def test_the_operator_reads_everything_that_the_server_says():
    assert parse() == reports.PodReport(
        pod_uid="uid-0",
        pod_name="mnist-0",
        server_version="0.1.0",
        accepted_config_schemas=(1,),
        config_hash="0011",
        config_error=reports.ConfigError("2233", "models: a list is expected"),
        ready=True,
        draining=False,
        models=(
            reports.ModelReport(
                "mnist",
                "/mnt/modelserver/claims/c/mnist",
                reports.SourceReport(True),
                (
                    reports.VersionReport(
                        3,
                        "Loading",
                        "LoadFailed",
                        "broken (try 1 of 6)",
                        first_seen_time=at(0),
                        next_retry_time=at(60),
                    ),
                    reports.VersionReport(
                        2,
                        "Available",
                        labels=("stable",),
                        first_seen_time=at(0),
                        available_time=at(5),
                    ),
                    reports.VersionReport(
                        1,
                        "Start",
                        "Incomplete",
                        "waiting for upload: variables",
                        first_seen_time=at(0),
                    ),
                ),
                (
                    reports.LabelReport("canary", 3, pending=True),
                    reports.LabelReport("stable", 2),
                ),
            ),
            reports.ModelReport(
                "lost", "/lost", reports.SourceReport(False, "NotFound", "no such path")
            ),
            reports.ModelReport("new", "/new", reports.SourceReport(None)),
        ),
    )


def test_a_server_that_has_nothing_yet_is_read_too():
    assert parse(ServerSnapshot(), is_ready=False) == reports.PodReport(
        pod_uid="", accepted_config_schemas=()
    )


def test_what_a_newer_server_adds_is_ignored():
    document = json.loads(build_report(SNAPSHOT, is_ready=True).body)
    document["colour"] = "green"
    document["models"][0]["versions"][0]["colour"] = "green"

    assert reports.parse_report(json.dumps(document).encode()) == parse()


def test_both_sides_name_a_configuration_by_the_same_digits():
    content = b'{"models":[],"pollRequest":"","schemaVersion":1}'

    assert hash_of(content) == hashlib.sha256(content).hexdigest()[:16]


URI = "gs://a-bucket-of-some-department/models/of/some/team/and/its/experiments"
STORED = (
    StoredVersion(10**10, 100, f"{URI}/3", Transfer(False, False, 10**9, 123456.7, 12)),
    StoredVersion(10**10, 100, f"{URI}/2", Transfer(True, True, 10**10)),
    StoredVersion(10**10, 100, f"{URI}/1", Transfer(True)),
)
TOTALS = StorageTotals(
    {(operation, str(500 + n)): 10**9 for operation in ("list", "read") for n in range(20)},
    cache=CacheFill(10**12, 300, 10**13),
)


def of_many_models(states, count):
    """A server of which every version has files that were, or are being, downloaded."""
    models = tuple(
        ModelSnapshot(
            f"a-model-with-a-name-of-some-length-{number}",
            URI,
            SourceSnapshot(True, mutated=frozenset({1})),
            {state.id.version: state for state in states},
            {"stable": 1, "canary": 2},
            {"stable": 1, "canary": 2},
            stored={state.id.version: STORED[3 - state.id.version] for state in states},
            next_poll=30.0,
        )
        for number in range(count)
    )
    return ServerSnapshot(models=models, storage=TOTALS)


def test_what_the_server_says_of_files_and_downloads_disturbs_no_reader():
    model = replace(
        SNAPSHOT.models[0],
        source=SourceSnapshot(True, mutated=frozenset({2})),
        stored=dict(zip((3, 2, 1), STORED, strict=True)),
        next_poll=30.0,
    )
    snapshot = replace(SNAPSHOT, models=(model, *SNAPSHOT.models[1:]), storage=TOTALS)

    known, found = parse().models[0], parse(snapshot).models[0]

    assert found.versions[1].reason == "Mutated"
    assert "overwritten" in found.versions[1].message
    plain = replace(found.versions[1], reason="", message="")
    assert replace(found, versions=(found.versions[0], plain, found.versions[2])) == known
    assert parse(replace(SNAPSHOT, storage=TOTALS)) == parse()


def test_the_operator_takes_a_report_of_64_models_at_their_worst():
    trouble = UnavailableError(f"{URI}/variables/variables.data-00000-of-00001 " + "x" * 200)
    worst = (
        state(3, ManagerState.START, trouble, "the download is tried again", retry_time=EPOCH),
        state(2, ManagerState.AVAILABLE, available_time=EPOCH + 5.0),
        state(1, ManagerState.AVAILABLE, available_time=EPOCH + 5.0),
    )

    report = build_report(of_many_models(worst, 64), is_ready=True)

    assert len(report.document["progress"]["downloads"]) == 64
    assert len(report.body) < admin_client._LARGEST_REPORT_BYTES
    assert len(reports.parse_report(report.body).models) == 64
