"""What holds of every status, whatever is observed."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver_operator.api import ModelServerStatus
from modelserver_operator.observed import ClaimSnapshot, LastExit, Observed, PodSnapshot
from modelserver_operator.reports import (
    ConfigError,
    LabelReport,
    ModelReport,
    PodReport,
    SourceReport,
    VersionReport,
)
from modelserver_operator.status import is_same
from modelserver_operator.testing.observations import (
    CONFIG_HASH,
    MNIST,
    NOW,
    a_deployment,
    a_pod,
    a_report,
    a_server,
    an_observation,
    judge,
    verdict,
)

deterministic = settings(derandomize=True, deadline=None, max_examples=60)

# Drawn from lists of what can be: drawing field by field takes ten times as long.
BACK_OFF = LastExit("Error", 1, "2 of 5 MB")
POD_FIELDS: list[dict[str, Any]] = [
    {},
    {"restart_count": 3, "last_exit": BACK_OFF},
    {"deleting": True},
    {"phase": "Failed", "ready": False},
    {"ready": False},
    {"ready": False, "phase": "Pending", "unschedulable_message": "0/2 nodes: 2 Insufficient cpu."},
    {"ready": False, "phase": "Pending", "unschedulable_message": "0/3 nodes: 3 Insufficient cpu."},
    {"ready": False, "waiting_reason": "ErrImagePull", "waiting_message": "x" * 2000},
    {"ready": False, "waiting_reason": "ImagePullBackOff", "waiting_message": "again"},
    {"ready": False, "waiting_reason": "CreateContainerConfigError"},
    {"ready": False, "waiting_reason": "CrashLoopBackOff", "last_exit": BACK_OFF},
    {"ready": False, "restart_count": 12, "last_exit": LastExit("OOMKilled", 137)},
    {"ready": False, "restart_count": 13, "last_exit": LastExit("Error", 2, "3 of 5 MB")},
]
MOMENTS = [None, NOW - timedelta(seconds=500), NOW, NOW + timedelta(seconds=1, microseconds=5)]
STATES = [
    ("Start", "", ""),
    ("Start", "Incomplete", "2 of 5 MB"),
    ("Start", "Incomplete", "3 of 5 MB"),
    ("Start", "Downloading", "downloading"),
    ("Start", "LoadFailed", "404"),
    ("Loading", "", ""),
    ("Available", "", ""),
    ("Available", "Mutated", "changed"),
    ("Unloading", "", ""),
    ("End", "LoadFailed", "x" * 2000),
    ("End", "LoadFailed", "bad op"),
    ("End", "Unloaded", ""),
]
VERSIONS = [
    VersionReport(
        number,
        state,
        reason,
        message,
        labels=("canary", "stable")[: number % 3],
        first_seen_time=moment,
        available_time=moment if state == "Available" else None,
        next_retry_time=moment if reason == "LoadFailed" else None,
    )
    for number in range(1, 5)
    for state, reason, message in STATES
    for moment in MOMENTS
]
SOURCES = [
    SourceReport(None),
    SourceReport(True),
    SourceReport(False, "Forbidden", "request 5 of sa@example"),
    SourceReport(False, "CredentialsMissing", "set serviceAccountName"),
    SourceReport(False, "FromTheFuture"),
]
CLAIMS = [None, ClaimSnapshot((), "Bound"), ClaimSnapshot((), "Pending"), ClaimSnapshot((), "Lost")]
CONFIGS = [
    (CONFIG_HASH, None),
    ("old", None),
    ("old", ConfigError(CONFIG_HASH, "unknown platform")),
    ("old", ConfigError("older", "unknown platform")),
]
SERVERS = [
    a_server(
        models=[
            MNIST | {"labels": [{"name": "stable", "version": 1}]},
            {"name": "other", "uri": "gs://bucket/other"},
        ],
        replicas=replicas,
        suspend=suspend,
        generation=generation,
        annotations=annotations,
    )
    for replicas, suspend in [(3, False), (1, False), (2, False), (0, False), (1, True)]
    for generation in (1, 2)
    for annotations in ({}, {"modelserver.dev/reconcile": "paused"})
]

model_reports = st.builds(
    ModelReport,
    name=st.sampled_from(["mnist", "other", "removed"]),
    source=st.sampled_from(SOURCES),
    versions=st.lists(
        st.sampled_from(VERSIONS), max_size=3, unique_by=lambda version: version.version
    ).map(tuple),
    labels=st.sampled_from([(), (LabelReport("stable", 1),), (LabelReport("stable", 1, True),)]),
)


@st.composite
def observations(draw: st.DrawFn) -> Observed:
    kinds = draw(st.lists(st.sampled_from(POD_FIELDS), max_size=4))
    pods = [a_pod(f"web-{number}", **fields) for number, fields in enumerate(kinds)]
    told = draw(st.lists(st.sampled_from(["reports", "times out", ""]), max_size=len(pods)))
    speaking = [pod for pod, how in zip(pods, told, strict=False) if how == "reports"]
    return an_observation(
        draw(st.sampled_from(SERVERS)),
        pods,
        [draw_report(draw, pod) for pod in speaking],
        deployment=a_deployment(draw(st.integers(0, 3))),
        unreachable={pod.uid: how for pod, how in zip(pods, told, strict=False) if how[:1] == "t"},
        claims={"models": draw(st.sampled_from(CLAIMS))},
    )


def draw_report(draw: st.DrawFn, pod: PodSnapshot) -> PodReport:
    config_hash, error = draw(st.sampled_from(CONFIGS))
    models = draw(st.lists(model_reports, max_size=3, unique_by=lambda model: model.name))
    return a_report(pod, *models, config_hash=config_hash, config_error=error)


def with_status(observed: Observed, last: ModelServerStatus) -> Observed:
    return replace(observed, server=observed.server.model_copy(update={"status": last}))


def with_versions(observed: Observed, change: Callable[[VersionReport], VersionReport]) -> Observed:
    """The same, but for what the pods say about each version."""
    reports = {
        uid: replace(
            report,
            models=tuple(
                replace(model, versions=tuple(map(change, model.versions)))
                for model in report.models
            ),
        )
        for uid, report in observed.reports.items()
    }
    return replace(observed, reports=reports)


def without_mutation(version: VersionReport) -> VersionReport:
    is_mutated = version.reason == "Mutated"
    return replace(version, reason="", message="") if is_mutated else version


def live_versions(observed: Observed) -> list[VersionReport]:
    """What the pods that count say."""
    uids = {pod.uid for pod in observed.pods if pod.is_live}
    reports = [report for uid, report in observed.reports.items() if uid in uids]
    return [version for report in reports for model in report.models for version in model.versions]


@given(observations(), observations())
@deterministic
def test_time_alone_writes_nothing(before: Observed, observed: Observed) -> None:
    last = judge(before)
    once = judge(with_status(observed, last), now=NOW + timedelta(minutes=1))

    again = judge(with_status(observed, once), now=NOW + timedelta(days=9))

    assert is_same(once, again)


@given(observations(), observations())
@deterministic
def test_a_status_read_back_from_the_cluster_is_the_one_that_was_written(
    before: Observed, observed: Observed
) -> None:
    written = judge(with_status(observed, judge(before)))

    assert ModelServerStatus.parse(written.to_json()) == written


@given(observations(), observations(), st.integers(-100, 100))
@deterministic
def test_transitions_never_move_back_and_move_with_the_status_only(
    before: Observed, observed: Observed, seconds: int
) -> None:
    last = {said.type: said for said in judge(before).conditions}

    now = NOW + timedelta(seconds=seconds)
    found = judge(with_status(observed, judge(before)), now=now)

    for said in found.conditions:
        was = last.get(said.type)
        if was is None:
            assert said.last_transition_time == now
        elif was.status == said.status:
            assert said.last_transition_time == was.last_transition_time
        else:
            assert said.last_transition_time == max(now, was.last_transition_time)


@given(observations(), observations())
@deterministic
def test_the_order_of_the_pods_does_not_matter(before: Observed, observed: Observed) -> None:
    last = judge(before)
    other = Observed(
        server=observed.server,
        children=observed.children,
        pods=tuple(reversed(observed.pods)),
        reports=dict(reversed(observed.reports.items())),
        unreachable=dict(reversed(observed.unreachable.items())),
        claims=observed.claims,
    )

    assert judge(with_status(observed, last)) == judge(with_status(other, last))


@given(observations())
@deterministic
def test_conditions_are_in_the_form_that_kubernetes_asks_for(observed: Observed) -> None:
    found = judge(observed)

    types = [said.type for said in found.conditions]
    assert len(types) == len(set(types))
    assert types[:4] == ["Ready", "SourceAccessible", "WorkloadAvailable", "VersionsConverged"]
    for said in found.conditions:
        assert re.fullmatch("[A-Z][A-Za-z]+", said.reason)
        assert 0 < len(said.message) <= 1024
        assert said.observed_generation == found.observed_generation


@given(observations())
@deterministic
def test_it_is_never_reconciling_and_stalled_at_once(observed: Observed) -> None:
    said = {condition.type: condition.status for condition in judge(observed).conditions}

    assert not {"Reconciling", "Stalled"} <= said.keys()
    assert {said.get("Reconciling", "True"), said.get("Stalled", "True")} == {"True"}


@given(observations())
@deterministic
def test_it_is_ready_only_when_a_ready_pod_has_each_model_or_is_taken_to(
    observed: Observed,
) -> None:
    found = judge(observed)

    if found.conditions[0].status == "True":
        assert found.ready_replicas > 0
        served = {m.name for m in found.models for row in m.versions if row.available_replicas}
        assert {"mnist", "other"} <= served


@given(observations())
@deterministic
def test_overwritten_files_are_told_exactly_while_a_pod_serves_what_was(observed: Observed) -> None:
    mutated = [version for version in live_versions(observed) if version.reason == "Mutated"]

    found = verdict(judge(observed), "VersionMutated")

    assert found == (("True", "FilesChanged") if mutated else None)


@given(observations(), observations())
@deterministic
def test_overwritten_files_change_no_other_answer(before: Observed, observed: Observed) -> None:
    last = judge(with_versions(before, without_mutation))

    found = judge(with_status(observed, last))
    unharmed = judge(with_status(with_versions(observed, without_mutation), last))

    truths = {said.type: said.status for said in found.conditions}
    truths.pop("VersionMutated", None)
    assert truths == {said.type: said.status for said in unharmed.conditions}
    assert verdict(found, "Ready") == verdict(unharmed, "Ready")
    assert found.serving_versions == unharmed.serving_versions


@given(observations(), observations())
@deterministic
def test_only_an_available_version_shows_as_overwritten(
    before: Observed, observed: Observed
) -> None:
    found = judge(with_status(observed, judge(before)))

    rows = [row for model in found.models for row in model.versions]
    assert {row.state for row in rows if row.reason == "Mutated"} <= {"Available"}


@given(observations())
@deterministic
def test_a_download_is_never_the_reason_that_nothing_can_be_done(observed: Observed) -> None:
    found = judge(observed)

    rows = [row for model in found.models for row in model.versions]
    if any(row.reason == "Downloading" for row in rows) and not found.ready_replicas:
        assert verdict(found, "Ready") != ("False", "NoVersionAvailable")
    if any(row.reason == "LoadFailed" for row in rows):
        assert verdict(found, "VersionsConverged") != ("False", "Downloading")


PAGE = (Path(__file__).parents[3] / "docs" / "status.md").read_text()


@given(observations(), observations())
@deterministic
def test_every_verdict_is_explained_on_the_page_under_its_condition(
    before: Observed, observed: Observed
) -> None:
    for said in judge(with_status(observed, judge(before))).conditions:
        section = PAGE.partition(f"\n## {said.type}\n")[2].partition("\n## ")[0]
        if said.type != "Reconciling":
            assert f"| {said.status} | {said.reason} |" in section, said
