"""What all children have in common, and the small ones."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver_operator.desired import Defaults, desired
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Capabilities, Observed
from modelserver_operator.testing.observations import MNIST, a_server

DEFAULTS = Defaults("server:1", operator_namespace="operators")
EVERYTHING: JsonObject = {"autoscaling": {"maxReplicas": 3}, "networkPolicy": {}}


def children(
    defaults: Defaults = DEFAULTS, *, monitors: bool = True, **spec: Any
) -> dict[tuple[str, str], JsonObject]:
    server = a_server(**spec)
    observed = Observed(server, capabilities=Capabilities(pod_monitor=monitors))
    made = desired(server, defaults, observed).children
    return {(child["kind"], child["metadata"]["name"]): child for child in made}


def test_no_two_children_have_the_same_kind_and_name() -> None:
    server = a_server(**EVERYTHING)
    observed = Observed(server, capabilities=Capabilities(pod_monitor=True))

    assert len(desired(server, DEFAULTS, observed).children) == len(children(**EVERYTHING)) == 9


@pytest.mark.parametrize("key", children(**EVERYTHING), ids=str)
def test_every_child_is_labelled_and_goes_with_its_owner(key: tuple[str, str]) -> None:
    metadata = children(**EVERYTHING)[key]["metadata"]

    assert metadata["namespace"] == "shop"
    assert metadata["labels"] == {
        "modelserver.dev/name": "web",
        "app.kubernetes.io/name": "modelserver",
        "app.kubernetes.io/instance": "web",
        "app.kubernetes.io/managed-by": "modelserver-operator",
    }
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": "modelserver.dev/v1alpha1",
            "kind": "ModelServer",
            "name": "web",
            "uid": "server-uid",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def test_everything_that_selects_selects_by_the_one_label() -> None:
    made = children(**EVERYTHING)
    only = {"modelserver.dev/name": "web"}

    assert made["Deployment", "web"]["spec"]["selector"] == {"matchLabels": only}
    assert made["Service", "web"]["spec"]["selector"] == only
    assert made["Service", "web-headless"]["spec"]["selector"] == only
    assert made["PodDisruptionBudget", "web"]["spec"]["selector"] == {"matchLabels": only}
    assert made["NetworkPolicy", "web"]["spec"]["podSelector"] == {"matchLabels": only}
    assert made["PodMonitor", "web"]["spec"]["selector"] == {"matchLabels": only}


def test_no_service_has_the_admin_port() -> None:
    made = children()

    for name in ("web", "web-headless"):
        ports = made["Service", name]["spec"]["ports"]
        assert [port["port"] for port in ports] == [8500]


HOT = st.fixed_dictionaries(
    {},
    optional={
        "versionPolicy": st.sampled_from([{"all": {}}, {"latest": {"count": 2}}]),
        "labels": st.just([{"name": "stable", "version": 1}]),
        "pollSeconds": st.integers(0, 60),
        "batching": st.just({}),
        "readyMarker": st.just("_SUCCESS"),
    },
)


@settings(deadline=None)
@given(HOT)
def test_a_hot_change_changes_the_config_map_and_nothing_else(hot: JsonObject) -> None:
    before, after = children(), children(models=[MNIST | hot])

    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed <= {("ConfigMap", "web-config")}
    assert bool(changed) == (hot not in ({}, {"pollSeconds": 1}))


# The autoscaler…


@pytest.mark.parametrize(
    ("autoscaling", "metrics"),
    [
        pytest.param({}, [80], id="by CPU"),
        pytest.param({"targetCPUUtilizationPercentage": 50}, [50], id="by as much CPU as told"),
        pytest.param({"metrics": [{"type": "Pods"}]}, [{"type": "Pods"}], id="as told"),
    ],
)
def test_what_to_scale_by(autoscaling: JsonObject, metrics: list[object]) -> None:
    made = children(autoscaling={"maxReplicas": 3} | autoscaling)

    spec = made["HorizontalPodAutoscaler", "web"]["spec"]
    assert [
        metric.get("resource", {}).get("target", {}).get("averageUtilization", metric)
        for metric in spec["metrics"]
    ] == metrics
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


# The network policy…


def ingress(made: dict[tuple[str, str], JsonObject]) -> dict[int, list[JsonObject]]:
    rules = made["NetworkPolicy", "web"]["spec"]["ingress"]
    return {rule["ports"][0]["port"]: rule["from"] for rule in rules}


def test_a_network_policy_lets_in_the_namespace_and_the_operator() -> None:
    made = ingress(children(monitors=False, networkPolicy={}))

    assert made[8500] == [{"podSelector": {}}]
    assert made[8502] == [
        {"podSelector": {}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "operators"}}},
    ]


def test_a_network_policy_lets_in_whom_it_is_told_to() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "a"}}}

    assert ingress(children(networkPolicy={"ingressFrom": [peer]}))[8500] == [peer]


def test_prometheus_may_come_from_anywhere_where_it_is_told_to_come() -> None:
    assert ingress(children(networkPolicy={}))[8502] == [{"namespaceSelector": {}}]


def test_no_rule_ever_has_an_empty_list_of_peers_which_would_let_everybody_in() -> None:
    outside = Defaults("server:1", operator_namespace="")

    assert all(ingress(children(outside, monitors=False, networkPolicy={})).values())


# The pod monitor…


def test_a_pod_monitor_has_the_labels_that_a_prometheus_looks_for() -> None:
    labels = {"release": "prometheus", "modelserver.dev/name": "stolen"}

    made = children(podMonitor={"labels": labels})["PodMonitor", "web"]["metadata"]["labels"]

    assert made["release"] == "prometheus"
    assert made["modelserver.dev/name"] == "web"


@pytest.mark.parametrize(
    ("monitors", "spec", "is_made"),
    [
        pytest.param(True, {}, True, id="where the cluster knows them"),
        pytest.param(False, {}, False, id="not where it does not"),
        pytest.param(True, {"podMonitor": {"enabled": False}}, False, id="not against the will"),
        pytest.param(True, {"podMonitor": {}}, True, id="as asked for"),
    ],
)
def test_when_a_pod_monitor_is_made(monitors: bool, spec: JsonObject, is_made: bool) -> None:
    assert (("PodMonitor", "web") in children(monitors=monitors, **spec)) is is_made
