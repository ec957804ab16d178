"""Both policies on literal snapshots. The tables are the specification."""

import pytest

from modelserver.core.harness import HarnessState
from modelserver.core.policy import (
    Action,
    AspiredServableStateSnapshot,
    ServableAction,
    availability_preserving,
    resource_preserving,
)
from modelserver.core.servable import ServableId

NEW, LOADING, RETRY_WAIT, READY, QUIESCING, UNLOADING, DISABLED, ERROR = HarnessState
LOAD, UNLOAD = Action


def snapshot(*versions: tuple[int, HarnessState, bool]) -> list[AspiredServableStateSnapshot]:
    return [
        AspiredServableStateSnapshot(ServableId("m", v), state, aspired)
        for v, state, aspired in versions
    ]


def action(kind: Action, version: int) -> ServableAction:
    return ServableAction(kind, ServableId("m", version))


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param([], None, id="nothing-known-nothing-done"),
        pytest.param(
            [
                (1, UNLOADING, False),
                (2, ERROR, False),
                (3, READY, True),
                (4, NEW, True),
                (5, NEW, True),
            ],
            action(LOAD, 5),
            id="loads-the-highest-new-one-first",
        ),
        pytest.param(
            [
                (1, UNLOADING, False),
                (2, ERROR, False),
                (3, READY, False),
                (4, READY, True),
                (5, NEW, True),
            ],
            action(UNLOAD, 3),
            id="unloads-before-it-loads-when-an-aspired-one-is-ready",
        ),
        pytest.param(
            [(1, DISABLED, False), (2, READY, False), (3, ERROR, False)],
            action(UNLOAD, 2),
            id="unloads-all-when-nothing-is-aspired",
        ),
        pytest.param(
            [
                (1, READY, True),
                (2, ERROR, True),
                (3, LOADING, True),
                (4, UNLOADING, False),
                (5, DISABLED, False),
            ],
            None,
            id="nothing-to-load-or-unload",
        ),
        pytest.param(
            [(1, READY, False), (2, LOADING, True)],
            None,
            id="keeps-the-last-one-while-another-loads",
        ),
        pytest.param(
            [(1, READY, False), (2, RETRY_WAIT, True)],
            None,
            id="keeps-the-last-one-while-another-retries",
        ),
        pytest.param(
            [(1, READY, False), (2, ERROR, True)],
            None,
            id="keeps-the-last-one-when-the-new-one-failed",
        ),
        pytest.param(
            [(1, READY, False), (2, NEW, True)],
            action(LOAD, 2),
            id="loads-the-new-one-beside-the-old",
        ),
        pytest.param(
            [(1, READY, False), (2, LOADING, True), (3, READY, True)],
            action(UNLOAD, 1),
            id="unloads-when-another-aspired-one-is-ready-though-one-loads",
        ),
        pytest.param(
            [(1, READY, False), (2, ERROR, True), (3, READY, True)],
            action(UNLOAD, 1),
            id="unloads-when-another-aspired-one-is-ready-though-one-failed",
        ),
        pytest.param(
            [(2, READY, False), (1, READY, False), (3, ERROR, True), (4, LOADING, True)],
            action(UNLOAD, 1),
            id="of-two-surplus-ones-the-lower-goes-though-no-aspired-one-is-ready",
        ),
        pytest.param(
            [(1, READY, False), (2, READY, False), (3, NEW, True)],
            action(UNLOAD, 1),
            id="surplus-goes-before-the-load",
        ),
        pytest.param(
            [(1, QUIESCING, False), (2, NEW, True)], action(LOAD, 2), id="does-not-wait-for-handles"
        ),
        pytest.param(
            [(1, READY, False), (2, READY, False), (1, NEW, True), (2, LOADING, True)],
            action(LOAD, 1),
            id="what-is-to-be-replaced-by-its-own-number-stays-until-then",
        ),
        pytest.param(
            [(1, READY, False), (1, LOADING, True), (2, READY, True)],
            None,
            id="and-though-a-successor-is-ready",
        ),
        pytest.param(
            [(1, READY, False), (2, READY, False), (1, LOADING, True), (2, ERROR, True)],
            None,
            id="and-where-its-replacement-has-failed",
        ),
        pytest.param(
            [(1, READY, False), (1, ERROR, True), (2, READY, True)],
            action(UNLOAD, 1),
            id="but-not-for-a-failed-replacement-beside-a-successor",
        ),
    ],
)
def test_availability_preserving(versions, expected):
    assert availability_preserving(snapshot(*versions)) == expected


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param([], None, id="nothing-known-nothing-done"),
        pytest.param(
            [(1, READY, True), (2, NEW, True), (3, NEW, True)],
            action(LOAD, 3),
            id="loads-the-highest-new-one-first",
        ),
        pytest.param([(1, READY, False), (2, NEW, True)], action(UNLOAD, 1), id="unloads-first"),
        pytest.param(
            [(2, READY, False), (1, READY, False), (3, NEW, True)],
            action(UNLOAD, 1),
            id="the-lowest-surplus-first",
        ),
        pytest.param([(1, QUIESCING, False), (2, NEW, True)], None, id="waits-for-the-last-handle"),
        pytest.param([(1, UNLOADING, False), (2, NEW, True)], None, id="waits-for-the-unload"),
        pytest.param([(1, LOADING, False), (2, NEW, True)], None, id="waits-for-a-cancelled-load"),
        pytest.param(
            [(1, DISABLED, False), (2, NEW, True)],
            action(LOAD, 2),
            id="loads-when-the-old-one-is-gone",
        ),
        pytest.param(
            [(1, ERROR, False), (2, NEW, True)],
            action(LOAD, 2),
            id="a-failed-old-one-holds-nothing",
        ),
        pytest.param(
            [(1, READY, True), (2, ERROR, True), (3, LOADING, True)], None, id="nothing-to-do"
        ),
        pytest.param([(1, READY, False)], action(UNLOAD, 1), id="unloads-when-nothing-is-aspired"),
    ],
)
def test_resource_preserving(versions, expected):
    assert resource_preserving(snapshot(*versions)) == expected


@pytest.mark.parametrize("policy", [availability_preserving, resource_preserving])
def test_a_policy_gives_the_same_answer_to_the_same_snapshot_in_any_order(policy):
    versions = snapshot((1, READY, False), (2, READY, False), (3, NEW, True), (4, NEW, True))

    answers = {policy(versions), policy(versions), policy(list(reversed(versions)))}

    assert len(answers) == 1
