"""The Deployment: how many pods, and how they are replaced."""

from collections.abc import Mapping
from typing import Any

import pytest

from modelserver_operator.desired import Defaults, Desired, desired
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ClaimSnapshot, Observed
from modelserver_operator.testing.observations import a_server

ONCE = ClaimSnapshot(("ReadWriteOnce",), "Bound")
ONCE_POD = ClaimSnapshot(("ReadWriteOncePod",), "Bound")
MANY = ClaimSnapshot(("ReadOnlyMany", "ReadWriteOnce"), "Bound")
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 4}

USUAL = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}
NO_SPARE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
RECREATE = {"type": "Recreate"}


def wanted(claims: Mapping[str, ClaimSnapshot | None], **spec: Any) -> Desired:
    server = a_server(**spec)
    return desired(server, Defaults("server:1"), Observed(server, claims=claims))


def deployment_spec(**spec: Any) -> JsonObject:
    (deployment,) = (c for c in wanted({}, **spec).children if c["kind"] == "Deployment")
    return dict(deployment["spec"])


@pytest.mark.parametrize(
    ("spec", "claims", "strategy", "note"),
    [
        pytest.param({}, {}, USUAL, "", id="usual"),
        pytest.param({}, {"models": None}, USUAL, "", id="a claim that is not there"),
        pytest.param({}, {"models": ClaimSnapshot()}, USUAL, "", id="a claim without modes"),
        pytest.param({}, {"models": MANY}, USUAL, "", id="a claim for many nodes"),
        pytest.param({"replicas": 5}, {"models": MANY}, USUAL, "", id="many pods"),
        pytest.param({}, {"models": ONCE}, RECREATE, "claim models", id="a claim for one node"),
        pytest.param({}, {"models": ONCE_POD}, RECREATE, "claim models", id="a claim for one pod"),
        pytest.param(
            {"replicas": 3}, {"models": ONCE}, RECREATE, "claim", id="one node, three pods"
        ),
        pytest.param(
            {"cache": {"claimName": "cache"}},
            {"models": MANY, "cache": ONCE},
            RECREATE,
            "claim cache",
            id="a cache for one node",
        ),
        pytest.param({"gpu": {}}, {}, RECREATE, "no spare nvidia.com/gpu", id="one pod with a GPU"),
        pytest.param({"gpu": {}, "replicas": 2}, {}, NO_SPARE, "no spare", id="two with GPUs"),
        pytest.param(
            {"gpu": {}, "autoscaling": AUTOSCALING}, {}, NO_SPARE, "no spare", id="autoscaled GPUs"
        ),
        pytest.param(
            {"gpu": {}, "replicas": 2}, {"models": ONCE}, RECREATE, "claim models", id="both"
        ),
    ],
)
def test_pods_are_replaced_without_what_the_cluster_can_not_give(
    spec: JsonObject,
    claims: Mapping[str, ClaimSnapshot | None],
    strategy: JsonObject,
    note: str,
) -> None:
    seen = wanted(claims, **spec)

    (deployment,) = (child for child in seen.children if child["kind"] == "Deployment")
    assert deployment["spec"]["strategy"] == strategy
    assert note in "".join(seen.notes)
    assert bool(note) == bool(seen.notes)


@pytest.mark.parametrize(
    ("spec", "replicas"),
    [
        pytest.param({}, 1, id="one by default"),
        pytest.param({"replicas": 3}, 3, id="as told"),
        pytest.param({"replicas": 0}, 0, id="none"),
        pytest.param({"replicas": 3, "suspend": True}, 0, id="suspended"),
        pytest.param({"replicas": 3, "autoscaling": AUTOSCALING}, None, id="autoscaled"),
        pytest.param({"autoscaling": AUTOSCALING, "suspend": True}, 0, id="autoscaled, suspended"),
    ],
)
def test_the_number_of_pods(spec: JsonObject, replicas: int | None) -> None:
    assert deployment_spec(**spec).get("replicas") == replicas


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        pytest.param({}, set(), id="plain"),
        pytest.param({"replicas": 2}, {"PodDisruptionBudget"}, id="two pods"),
        pytest.param(
            {"autoscaling": AUTOSCALING},
            {"PodDisruptionBudget", "HorizontalPodAutoscaler"},
            id="autoscaled",
        ),
        pytest.param({"networkPolicy": {}}, {"NetworkPolicy"}, id="restricted"),
        pytest.param({"networkPolicy": {"enabled": False}}, set(), id="not restricted"),
        pytest.param({"podMonitor": {"enabled": True}}, set(), id="no such kind in the cluster"),
        pytest.param({"replicas": 2, "suspend": True}, {"PodDisruptionBudget"}, id="suspended"),
    ],
)
def test_some_children_exist_only_when_asked_for(spec: JsonObject, kinds: set[str]) -> None:
    optional = {
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodMonitor",
    }

    assert {child["kind"] for child in wanted({}, **spec).children} & optional == kinds
