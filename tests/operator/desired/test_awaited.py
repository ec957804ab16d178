"""Which models starting pods wait for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver_operator.desired.awaited import Awaiting, ModelPath, awaiting
from modelserver_operator.reports import ModelReport, PodReport, SourceReport
from modelserver_operator.testing.observations import a_model, a_pod, a_report, a_version

A = ModelPath("a", "/models/a")
B = ModelPath("b", "/models/b")
LOST = SourceReport(accessible=False)
BOTH_SERVED = Awaiting(has_served=True, models={A: True, B: True})


def row(
    model: ModelPath,
    state: str = "Available",
    *,
    reason: str = "",
    source: SourceReport | None = None,
) -> ModelReport:
    version = a_version(1, state, reason=reason)
    where = source or SourceReport(accessible=True)
    return a_model(version, name=model.name, base_path=model.base_path, source=where)


def report(*rows: ModelReport, ready: bool = True) -> PodReport:
    return a_report(a_pod(), *rows, ready=ready)


def test_the_first_pods_wait_for_every_model() -> None:
    starting = report(row(A), row(B, "Loading"), ready=False)

    decided = awaiting([A, B], [starting], Awaiting())

    assert decided == Awaiting(has_served=False, models={A: True, B: True})


def test_the_first_pods_let_go_of_a_broken_model_once_another_can_answer() -> None:
    broken = row(B, "End", reason="LoadFailed")

    alone = awaiting([A, B], [report(row(A, "Loading"), broken, ready=False)], Awaiting())
    beside = awaiting([A, B], [report(row(A), broken, ready=False)], Awaiting())

    assert alone.models == {A: True, B: True}
    assert beside.models == {A: True, B: False}


def test_the_first_pods_wait_for_a_model_that_downloads_though_another_can_answer() -> None:
    downloading = row(B, "Start", reason="Downloading")

    decided = awaiting([A, B], [report(row(A), downloading, ready=False)], Awaiting())

    assert decided == Awaiting(has_served=False, models={A: True, B: True})


def test_the_first_pods_let_go_of_a_model_whose_download_fails() -> None:
    failed = row(B, "Start", reason="LoadFailed")

    decided = awaiting([A, B], [report(row(A), failed, ready=False)], Awaiting())

    assert decided.models == {A: True, B: False}


def test_a_model_whose_files_were_overwritten_is_awaited_like_any_that_serves() -> None:
    mutated = row(B, "Available", reason="Mutated")

    first = awaiting([A, B], [report(row(A), mutated, ready=False)], Awaiting())
    later = awaiting([A, B], [report(row(A), mutated)], BOTH_SERVED)

    assert first.models == later.models == {A: True, B: True}


def test_a_pod_that_serves_ends_the_first_start() -> None:
    first = Awaiting(models={A: True, B: True})

    decided = awaiting([A, B], [report(row(A), row(B))], first)

    assert decided == BOTH_SERVED


def test_a_model_that_is_added_later_is_not_awaited_until_some_pod_serves_it() -> None:
    before = Awaiting(has_served=True, models={A: True})

    added = awaiting([A, B], [report(row(A), row(B, "Loading"))], before)
    served = awaiting([A, B], [report(row(A), row(B))], added)

    assert added.models == {A: True, B: False}
    assert served.models == {A: True, B: True}


def test_a_model_with_another_path_has_to_prove_itself_again() -> None:
    moved = ModelPath("b", "/models/typo")
    keeps_serving_the_old_version = row(moved, source=LOST)

    decided = awaiting([A, moved], [report(row(A), keeps_serving_the_old_version)], BOTH_SERVED)

    assert decided.models == {A: True, moved: False}


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(row(B, "Start", source=LOST), id="source lost"),
        pytest.param(row(B, "End", reason="LoadFailed"), id="load failed"),
        pytest.param(row(B, "Start", reason="LoadFailed"), id="download failed"),
        pytest.param(row(B, "Start", reason="Incomplete"), id="incomplete"),
    ],
)
def test_a_model_that_can_not_be_loaded_any_more_does_not_keep_pods_from_serving_the_others(
    trouble: ModelReport,
) -> None:
    restarted = report(row(A), trouble, ready=False)

    decided = awaiting([A, B], [restarted], BOTH_SERVED)

    assert decided.models == {A: True, B: False}


def test_a_model_that_some_pod_still_serves_is_awaited_though_another_can_not_load_it() -> None:
    restarted = report(row(A), row(B, "Start", source=LOST), ready=False)

    decided = awaiting([A, B], [restarted, report(row(A), row(B, source=LOST))], BOTH_SERVED)

    assert decided == BOTH_SERVED


@pytest.mark.parametrize(
    "reports",
    [
        pytest.param([], id="no pod has been heard"),
        pytest.param([report(row(A, "Loading"), row(B, "Loading"), ready=False)], id="restarting"),
        pytest.param(
            [report(row(A), row(B, "Start", reason="Downloading"), ready=False)], id="downloading"
        ),
        pytest.param([report(row(A), row(B, "Unloading"))], id="between two versions"),
    ],
)
def test_without_evidence_the_decision_stands(reports: list[PodReport]) -> None:
    assert awaiting([A, B], reports, BOTH_SERVED) == BOTH_SERVED


def test_when_every_model_is_in_trouble_all_are_awaited() -> None:
    trouble = report(row(A, "Start", source=LOST), row(B, "End", reason="LoadFailed"), ready=False)

    decided = awaiting([A, B], [trouble], BOTH_SERVED)

    assert decided.models == {A: True, B: True}


def test_when_every_model_is_in_trouble_one_that_serves_is_enough() -> None:
    elsewhere = report(row(A, "Start", source=LOST), row(B, "Start", source=LOST), ready=False)
    reports = [report(row(A, source=LOST), row(B, "Start", source=LOST)), elsewhere]

    decided = awaiting([A, B], reports, Awaiting())

    assert decided.models == {A: True, B: False}
    assert awaiting([A, B], reports, decided) == decided


PATHS = st.sampled_from([A, B, ModelPath("c", "/c"), ModelPath("c", "/d")])
STATES = st.sampled_from(["Start", "Loading", "Available", "Unloading", "End"])
ROWS = st.builds(
    row,
    PATHS,
    STATES,
    reason=st.sampled_from(["", "LoadFailed", "Incomplete", "Downloading", "Mutated"]),
    source=st.builds(SourceReport, accessible=st.sampled_from([True, False, None])),
)
REPORTS = st.lists(
    st.builds(
        lambda rows, ready: report(*rows, ready=ready),
        st.lists(ROWS, min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=3,
)
PREVIOUS = st.builds(
    Awaiting, has_served=st.booleans(), models=st.dictionaries(PATHS, st.booleans())
)
MODELS = st.lists(PATHS, min_size=1, max_size=3, unique=True)


@settings(deadline=None)
@given(MODELS, REPORTS, PREVIOUS)
def test_something_is_always_awaited_and_deciding_twice_changes_nothing(
    models: list[ModelPath], reports: list[PodReport], previous: Awaiting
) -> None:
    once = awaiting(models, reports, previous)

    assert set(once.models) == set(models)
    assert any(once.models.values())
    assert once.has_served or not previous.has_served
    assert awaiting(models, reports, once) == once
