"""The control plane as tests use it."""

import json

import pytest

from testcluster.errors import ClusterError

WIDGETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.test.example"},
    "spec": {
        "group": "test.example",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "low": {"type": "integer"},
                                    "high": {"type": "integer"},
                                },
                                "x-kubernetes-validations": [
                                    {
                                        "rule": "self.low <= self.high",
                                        "message": "low must not exceed high",
                                    }
                                ],
                            }
                        },
                    }
                },
            }
        ],
    },
}


def widget(low, high):
    spec = {"low": low, "high": high}
    return json.dumps(
        {"apiVersion": "test.example/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}
    )


@pytest.fixture(scope="module")
def widgets(control_plane):
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(WIDGETS))
    control_plane.kubectl(
        "wait", "--for=condition=Established", "crd/widgets.test.example", "--timeout=60s"
    )
    yield control_plane
    control_plane.kubectl("delete", "crd", "widgets.test.example", "--wait=false")


def test_a_custom_resource_is_stored(widgets, namespace):
    widgets.kubectl("apply", "-n", namespace, "-f", "-", input=widget(1, 2))

    assert widgets.kubectl("get", "widget", "w", "-n", namespace, "-o=jsonpath={.spec.high}") == "2"


def test_a_custom_resource_that_breaks_a_cel_rule_is_refused_with_its_message(widgets, namespace):
    with pytest.raises(ClusterError, match="low must not exceed high"):
        widgets.kubectl("apply", "-n", namespace, "-f", "-", input=widget(2, 1))


def test_a_failing_command_says_what_was_run(control_plane):
    with pytest.raises(ClusterError, match=r"kubectl get unicorns failed with 1:\n.*unicorns"):
        control_plane.kubectl("get", "unicorns")


def test_data_survives_a_restart_of_the_api_server(control_plane, namespace):
    control_plane.kubectl("create", "configmap", "kept", "--from-literal=a=b", "-n", namespace)

    control_plane.restart_apiserver()

    assert (
        control_plane.kubectl("get", "configmap", "kept", "-n", namespace, "-o=jsonpath={.data.a}")
        == "b"
    )


def test_helm_installs_into_the_cluster(control_plane, namespace, tmp_path):
    control_plane.helm("create", str(tmp_path / "chart"))

    control_plane.helm("install", "release", str(tmp_path / "chart"), "-n", namespace)

    assert "release" in control_plane.helm("list", "-n", namespace)


def test_the_api_server_listens_on_the_loopback_address_only(control_plane):
    server = control_plane.kubectl("config", "view", "-o=jsonpath={.clusters[0].cluster.server}")

    assert server.startswith("https://127.0.0.1:")
