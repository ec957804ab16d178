"""Installing, upgrading and uninstalling the chart, on a cluster of its own (no operator runs)."""

import json
import secrets
from textwrap import dedent

import pytest

from testcluster.errors import ClusterError
from testcluster.waiting import wait_until

CRD = "modelservers.modelserver.dev"
MODEL_SERVER = {
    "apiVersion": "modelserver.dev/v1alpha1",
    "kind": "ModelServer",
    "metadata": {"name": "mnist"},
    "spec": {"models": [{"name": "mnist", "uri": "pvc://models/mnist"}]},
}


@pytest.fixture
def release(own_cluster, chart):
    """Install a release with values; it and the CRD are gone afterwards."""
    name = f"r{secrets.token_hex(3)}"

    def helm(verb, *flags):
        text = own_cluster.helm(
            *(verb, name, str(chart), "--namespace", name, "--create-namespace", *flags)
        )
        wait_until(lambda: serves_model_servers(own_cluster), "the API of ModelServers")
        return text

    helm.name = name
    yield helm
    own_cluster.helm("uninstall", name, "--namespace", name, "--ignore-not-found")
    own_cluster.kubectl("delete", "crd", CRD, "--ignore-not-found")
    own_cluster.kubectl("delete", "namespace", name, "--wait=false")


def serves_model_servers(cluster):
    try:
        cluster.kubectl("get", "modelservers")
    except ClusterError:
        return False
    return True


def versions(cluster, name):
    """The resource version of each object of the release."""
    manifest = cluster.helm("get", "manifest", name, "--namespace", name)
    answer = cluster.kubectl("get", "-n", name, "-o", "json", "-f", "-", input=manifest)
    return {
        (found["kind"], found["metadata"]["name"]): found["metadata"].get("generation")
        or found["metadata"]["resourceVersion"]
        for found in json.loads(answer)["items"]
    }


def test_an_upgrade_to_the_same_changes_nothing(own_cluster, release):
    release("install", "--set", "replicas=2")
    before = versions(own_cluster, release.name)

    release("upgrade", "--set", "replicas=2")

    assert len(before) > 10
    assert versions(own_cluster, release.name) == before


def test_the_notes_manifest_is_a_model_server_that_the_api_server_takes(own_cluster, release):
    notes = release("install")
    manifest = notes.partition("<<END\n")[2].partition("\n  END")[0]

    assert "/mnist created" in own_cluster.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-f", "-", input=dedent(manifest)
    )
    assert f"helm test {release.name} --namespace {release.name}" in notes


def test_uninstalling_keeps_the_crd_and_the_model_servers(own_cluster, release):
    release("install")
    own_cluster.kubectl("apply", "-n", release.name, "-f", "-", input=json.dumps(MODEL_SERVER))

    own_cluster.helm("uninstall", release.name, "--namespace", release.name)

    assert "mnist" in own_cluster.kubectl("get", "msrv", "-n", release.name, "-o", "name")


def test_a_new_install_takes_over_the_crd_that_an_old_one_left(own_cluster, release):
    release("install")
    own_cluster.helm("uninstall", release.name, "--namespace", release.name)

    release("install")

    assert own_cluster.kubectl("get", "crd", CRD, "-o", "name")


def test_uninstalling_removes_the_crd_when_it_is_not_to_be_kept(own_cluster, release):
    release("install", "--set", "crds.keep=false")

    own_cluster.helm("uninstall", release.name, "--namespace", release.name, "--wait")

    assert own_cluster.kubectl("get", "crd", CRD, "--ignore-not-found", "-o", "name") == ""
