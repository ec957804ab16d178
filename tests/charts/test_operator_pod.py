"""The chart with the operator's image in it, on a node."""

import json
import re
import secrets
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from modelserver.telemetry import Metrics, MetricsSnapshot
from testcluster.cluster import EmbeddedCluster

METRIC = re.compile("modelserver_[a-z_]+")
BUILD = Path(__file__).resolve().parents[1] / "images" / "build_images.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def release(node, chart):
    """The name of a release, and of its namespace, which enforces the profile `restricted`."""
    if isinstance(node, EmbeddedCluster):
        built = subprocess.run(
            [sys.executable, BUILD, "operator"], stdout=subprocess.PIPE, check=True, text=True
        )
        node.load_image(Path(built.stdout.strip()))
    name = f"chart-{secrets.token_hex(3)}"
    node.kubectl("create", "namespace", name)
    node.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    node.helm(
        *("install", name, str(chart), "--namespace", name, "--take-ownership", "--wait"),
        *("--set", f"namespaces={{{name}}}", "--set", "replicas=2", "--timeout", "3m"),
    )
    yield name
    node.helm("uninstall", name, "--namespace", name)
    node.kubectl("delete", "namespace", name, "--wait=false")


def test_the_operator_becomes_ready_where_the_profile_restricted_is_enforced(node, release):
    answer = node.kubectl("get", "deployment", "-n", release, "-o", "json")
    (deployment,) = json.loads(answer)["items"]

    assert deployment["status"]["readyReplicas"] == 2


def test_helm_test_passes(node, release):
    assert "Phase:          Succeeded" in node.helm("test", release, "--namespace", release)


def test_every_metric_of_the_alerts_and_the_dashboard_is_served(node, release, chart):
    files = [(chart / "files" / name).read_text() for name in ("rules.yaml", "dashboard.json")]
    used = {name.removesuffix("_bucket") for name in METRIC.findall("".join(files))}

    pages = list(metrics(node, release))
    page_of_a_server = Metrics(MetricsSnapshot).exposition().decode()

    assert len(pages) == 2
    for page in pages:
        served = page + page_of_a_server
        assert {name for name in used if f"# HELP {name} " not in served} == set()


def metrics(cluster, namespace):
    pods = json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json"))["items"]
    for pod in pods:
        if "podIP" in pod["status"]:
            address = f"http://{pod['status']['podIP']}:8080/metrics"
            with urllib.request.urlopen(address, timeout=10) as answer:
                yield answer.read().decode()
