"""Stands in for the kubelets and the servers of a benchmark's pods, in a process of its own.

Makes every pod of a namespace Running and Ready, at an address of its own in 127.0.0.0/8, and
serves its report there on the admin port, so that an operator really polls it. A line "NAME
VERSION" on standard input makes the pod of the ModelServer NAME report that version; the end of the
input ends it all.

    python bench_operator_pods.py KUBECONFIG NAMESPACE
"""

import asyncio
import hashlib
import json
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench_operator_watch import Mirror
from modelserver_operator.admin_client import ADMIN_PORT
from modelserver_operator.cluster.kubernetes_client import KubernetesCluster, connect
from modelserver_operator.cluster.resources import CONFIG_MAP, POD
from modelserver_operator.desired.labels import NAME_LABEL, config_map_name
from modelserver_operator.desired.volumes import CONFIG_FILE
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.fake_pods import FakePods

_MERGE_PATCH = "application/merge-patch+json"
_STARTED_AT_ONCE = 8
_ADDRESSES_OF_A_BLOCK = 250


class Pods:
    """The pods of a namespace, one for each ModelServer."""

    def __init__(self, cluster: KubernetesCluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._pods = Mirror(cluster, POD, namespace)
        self._configs = Mirror(cluster, CONFIG_MAP, namespace)
        self._fakes = FakePods()
        self._addresses: dict[str, str] = {}
        self._versions: dict[str, tuple[int, str]] = {}
        self._slots = asyncio.Semaphore(_STARTED_AT_ONCE)

    async def run(self) -> None:
        """Run pods until cancelled."""
        async with AsyncExitStack() as servers, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pods.run())
            tasks.create_task(self._configs.run())
            tasks.create_task(self._follow_configs())
            async for name in self._pods.changes():
                pod = self._pods.objects.get(name)
                if pod is not None and pod["metadata"]["uid"] not in self._addresses:
                    address = self._new_address(pod)
                    tasks.create_task(self._start(pod, address, servers))

    def show_version(self, server: str, version: int) -> None:
        """Let the pods of a ModelServer report that they have replaced their version with this."""
        self._versions[server] = (version, _now())
        self._report_all_of(server)

    def _new_address(self, pod: JsonObject) -> str:
        block, number = divmod(len(self._addresses), _ADDRESSES_OF_A_BLOCK)
        address = self._addresses[pod["metadata"]["uid"]] = f"127.0.{block + 1}.{number + 1}"
        return address

    async def _start(self, pod: JsonObject, address: str, servers: AsyncExitStack) -> None:
        self._report(pod)
        async with self._slots:
            await servers.enter_async_context(self._fakes.serve(address, ADMIN_PORT))
            path = POD.path(self._namespace, pod["metadata"]["name"], "status")
            patch = {"status": _running(pod, address)}
            await self._cluster.call("PATCH", path, patch, content_type=_MERGE_PATCH)

    async def _follow_configs(self) -> None:
        async for name in self._configs.changes():
            labels = self._configs.objects[name]["metadata"].get("labels") or {}
            if NAME_LABEL in labels:
                self._report_all_of(labels[NAME_LABEL])

    def _report_all_of(self, server: str) -> None:
        for pod in self._pods.objects.values():
            known = pod["metadata"]["uid"] in self._addresses
            if known and pod["metadata"]["labels"][NAME_LABEL] == server:
                self._report(pod)

    def _report(self, pod: JsonObject) -> None:
        server = pod["metadata"]["labels"][NAME_LABEL]
        config = self._configs.objects.get(config_map_name(server))
        if config is None:
            return
        version, since = self._versions.setdefault(server, (1, _now()))
        address = self._addresses[pod["metadata"]["uid"]]
        self._fakes.report(address, report(pod, config["data"][CONFIG_FILE], version, since))


def report(pod: JsonObject, config: str, version: int, since: str) -> JsonObject:
    """What a pod says that serves this version of each model of its config document."""
    return {
        "acceptedConfigSchemas": [1],
        "serverVersion": "0.1.0",
        "podName": pod["metadata"]["name"],
        "podUid": pod["metadata"]["uid"],
        "configHash": hashlib.sha256(config.encode()).hexdigest()[:16],
        "configError": None,
        "ready": True,
        "draining": False,
        "models": [_model(model, version, since) for model in json.loads(config)["models"]],
    }


def _model(model: JsonObject, version: int, since: str) -> JsonObject:
    row = {
        "version": version,
        "state": "Available",
        "reason": "",
        "message": "",
        "labels": [],
        "firstSeenTime": since,
        "availableTime": since,
        "nextRetryTime": None,
    }
    return {
        "name": model["name"],
        "basePath": model["basePath"],
        "source": {"accessible": True, "reason": "", "message": ""},
        "versions": [row],
        "labels": [],
    }


def _running(pod: JsonObject, address: str) -> JsonObject:
    now = _now()
    types = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": now,
        "conditions": [{"type": t, "status": "True", "lastTransitionTime": now} for t in types],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": container["image"],
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ],
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def _obey(pods: Pods) -> None:
    """Do what standard input says, until it ends."""
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    async for line in commands:
        server, version = line.decode().split()
        pods.show_version(server, int(version))


async def main(kubeconfig: Path, namespace: str) -> None:
    """Run pods until standard input ends."""
    async with connect(kubeconfig, timeout_seconds=60) as cluster, asyncio.TaskGroup() as tasks:
        pods = Pods(cluster, namespace)
        running = tasks.create_task(pods.run())
        await _obey(pods)
        running.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
