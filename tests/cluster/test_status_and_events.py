"""The status and the events, as a real API server takes and shows them."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from modelserver_operator.api import ModelServer, ModelServerStatus
from modelserver_operator.cluster.kubernetes_client import KubernetesCluster, connect
from modelserver_operator.event_recorder import EventRecorder
from modelserver_operator.events import EventNote, transitions
from modelserver_operator.json_types import JsonObject
from modelserver_operator.reports import SourceReport
from modelserver_operator.status import is_same
from modelserver_operator.testing.observations import (
    NOW,
    a_model,
    a_pod,
    a_report,
    a_server,
    a_version,
    an_observation,
    judge,
)
from testcluster.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio]


@pytest_asyncio.fixture
async def cluster(kubernetes: Cluster) -> AsyncIterator[KubernetesCluster]:
    async with connect(kubernetes.kubeconfig) as cluster:
        yield cluster


def created(kubernetes: Cluster, namespace: str) -> ModelServer:
    spec = a_server().spec.to_json()
    manifest: JsonObject = {
        "apiVersion": "modelserver.dev/v1alpha1",
        "kind": "ModelServer",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": spec,
    }
    kubernetes.kubectl("create", "-f", "-", input=json.dumps(manifest))
    return live(kubernetes, namespace)


def live(kubernetes: Cluster, namespace: str) -> ModelServer:
    text = kubernetes.kubectl("get", "msrv", "web", "-n", namespace, "-o", "json")
    return ModelServer.parse(json.loads(text))


async def write(cluster: KubernetesCluster, server: ModelServer, status: ModelServerStatus) -> None:
    manifest = {
        "apiVersion": server.api_version,
        "kind": server.kind,
        "metadata": {"name": "web", "namespace": server.metadata.namespace},
        "status": status.to_json(),
    }
    await cluster.apply(manifest, manager="modelserver-operator", force=True, subresource="status")


def all_sorts(server: ModelServer) -> ModelServerStatus:
    """A status that has something in every field of a row, and every reason of one."""
    pod = a_pod()
    old = a_version(1, reason="Mutated", message="saved_model.pb was overwritten")
    good = a_version(2, labels=("stable",), first_seen_time=NOW, available_time=NOW)
    bad = a_version(3, "End", reason="LoadFailed", message="x" * 999, next_retry_time=NOW)
    coming = a_version(4, "Start", reason="Downloading", message="downloading")
    partial = a_version(5, "Start", reason="Incomplete", message="variables.index is missing")
    source = SourceReport(accessible=False, reason="CredentialsMissing", message="y" * 3000)
    report = a_report(pod, a_model(old, good, bad, coming, partial, source=source))
    return judge(an_observation(server, [pod], [report]))


async def test_a_status_comes_back_from_the_api_server_as_it_was_written(
    kubernetes: Cluster, cluster: KubernetesCluster, namespace: str
) -> None:
    server = created(kubernetes, namespace)
    written = all_sorts(server)

    await write(cluster, server, written)

    assert is_same(live(kubernetes, namespace).status, written)


async def test_nothing_is_to_be_written_after_a_restart(
    kubernetes: Cluster, cluster: KubernetesCluster, namespace: str
) -> None:
    server = created(kubernetes, namespace)
    await write(cluster, server, all_sorts(server))

    read = live(kubernetes, namespace)
    again = all_sorts(read)

    assert is_same(read.status, again)
    assert transitions(read.status, again) == ()


async def test_kubectl_waits_for_ready_and_prints_the_summaries(
    kubernetes: Cluster, cluster: KubernetesCluster, namespace: str
) -> None:
    server = created(kubernetes, namespace)

    await write(cluster, server, judge(an_observation(server)))

    kubernetes.kubectl(
        "wait", "msrv/web", "-n", namespace, "--for=condition=Ready", "--timeout=60s"
    )
    printed = kubernetes.kubectl("get", "msrv", "web", "-n", namespace, "-o", "wide")
    for shown in ("True", "Serving", "mnist:1", "1/1", "pvc://models/mnist"):
        assert shown in printed


async def test_kubectl_waits_for_files_to_be_overwritten_and_shows_what_to_do(
    kubernetes: Cluster, cluster: KubernetesCluster, namespace: str
) -> None:
    server = created(kubernetes, namespace)
    status = all_sorts(server)

    await write(cluster, server, status)
    await recorded(cluster, server, transitions(server.status, status), seconds=0)

    kubernetes.kubectl(
        "wait", "msrv/web", "-n", namespace, "--for=condition=VersionMutated", "--timeout=60s"
    )
    shown = kubernetes.kubectl("events", "--for", "modelserver/web", "-n", namespace)
    assert "SourceCredentialsMissing" in shown
    assert "VersionMutated" in shown
    assert "kubectl rollout restart deployment/web" in shown


async def test_events_are_shown_with_the_object_and_count_on(
    kubernetes: Cluster, cluster: KubernetesCluster, namespace: str
) -> None:
    server = created(kubernetes, namespace)
    notes = transitions(ModelServerStatus(), judge(an_observation(server)))

    for seconds in range(2):
        await recorded(cluster, server, notes, seconds)

    shown = kubernetes.kubectl("events", "--for", "modelserver/web", "-n", namespace)
    assert "Serving mnist with 1 pod." in shown
    found = json.loads(kubernetes.kubectl("get", "events", "-n", namespace, "-o", "json"))
    (event,) = found["items"]
    assert event["count"] == 2


async def recorded(
    cluster: KubernetesCluster, server: ModelServer, notes: tuple[EventNote, ...], seconds: int
) -> None:
    """What an operator that has just started writes."""
    recorder = EventRecorder(cluster, "operator", now=lambda: NOW + timedelta(seconds=seconds))
    recorder.record(server.metadata, notes)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(recorder.run())
        await recorder.drain()
        running.cancel()
