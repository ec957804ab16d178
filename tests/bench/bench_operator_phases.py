"""The phases of the operator's benchmark, and what is measured in each."""

import asyncio
import random
import statistics
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench_operator_calls import Versions, changed_objects, count_calls, object_versions
from bench_operator_process import OperatorProcess, Reading
from bench_operator_report import Report, Row
from bench_operator_watch import Mirror
from bench_operator_world import model_server
from modelserver_operator.api import ModelServerStatus
from modelserver_operator.cluster.kubernetes_client import KubernetesCluster
from modelserver_operator.desired.labels import config_map_name
from modelserver_operator.desired.volumes import CONFIG_FILE
from modelserver_operator.json_types import JsonObject

_MEBIBYTE = 1 << 20
_WRITES_AT_ONCE = 8
_VERSION_CHANGES = 20
_POLL_SECONDS, _NEW_POLL_SECONDS = 1, 5
_QUIET_SECONDS = 20.0
_SETTLE_SECONDS = 600.0
_PROGRESS_SECONDS = 15.0
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class World:
    """The cluster as the benchmark sees it."""

    api: KubernetesCluster
    servers: Mirror
    configs: Mirror


@dataclass(frozen=True, slots=True)
class _Moment:
    operator: Reading
    calls: Counter[str]


class Phases:
    """The phases with one operator process; each adds its rows to the report."""

    def __init__(self, world: World, operator: OperatorProcess, count: int, report: Report) -> None:
        self._world = world
        self._operator = operator
        self._names = [f"server-{number:03}" for number in range(count)]
        self._report = report

    async def creation(self) -> None:
        """Create all, and wait until they are Ready."""
        before = await self._look()
        async with asyncio.TaskGroup() as tasks:
            creating = tasks.create_task(self._timed(self._write_all(_POLL_SECONDS)))
            ready = await self._timed(self._until_all(is_ready, "Ready"))
        after = await self._look()
        memory_before = Row("memory before", before.operator.resident / _MEBIBYTE, "MiB")
        self._report.add(
            f"Creating {len(self._names)} ModelServers",
            [
                Row("creating them", creating.result(), "s"),
                Row("until all are Ready", ready, "s"),
                memory_before,
                *_spent(before, after),
            ],
        )

    async def idleness(self, seconds: float) -> None:
        """Do nothing, and see what the operator does."""
        before = await self._settle()
        versions = await object_versions(self._world.api)
        while (left := before.operator.at + seconds - _now()) > 0:
            _say(f"Idle for another {left:.0f} s")
            await asyncio.sleep(min(left, _PROGRESS_SECONDS))
        changed = await self._changed_since(versions)
        after = await self._look()
        self._report.add(
            f"Idle for {after.operator.at - before.operator.at:.0f} s",
            [changed, *_spent(before, after)],
        )

    async def version_changes(self, pods: asyncio.subprocess.Process) -> None:
        """Let one pod after the other report another version."""
        latencies = []
        for version in range(2, _VERSION_CHANGES + 2):
            latencies.append(await self._timed(self._version_change(pods, version)))
            _say(f"Version change {version - 1} of {_VERSION_CHANGES}: {latencies[-1]:.1f} s")
        self._report.add(
            "From a pod that reports another version to the status that shows it",
            [
                Row("minimum", min(latencies), "s"),
                Row("median", statistics.median(latencies), "s"),
                Row("maximum", max(latencies), "s"),
            ],
        )

    async def change_of_all(self) -> None:
        """Change a hot field of every spec."""
        before = await self._settle()
        async with asyncio.TaskGroup() as tasks:
            changing = tasks.create_task(self._timed(self._write_all(_NEW_POLL_SECONDS)))
            told = tasks.create_task(self._timed(self._until_all(is_converged, "converged")))
            written = await self._timed(self._until_all_configs_are_written())
        after = await self._look()
        self._report.add(
            f"A hot change of {len(self._names)} ModelServers",
            [
                Row("changing the specs", changing.result(), "s"),
                Row("until all ConfigMaps are written", written, "s"),
                Row("until every status says converged", told.result(), "s"),
                *_spent(before, after),
            ],
        )

    async def restart(self) -> None:
        """See what an operator does that starts where everything exists."""
        versions = await object_versions(self._world.api)
        before = await self._look()
        seconds = await self._timed(self._until_reconciled())
        after = await self._settle()
        self._report.add(
            f"An operator starts where {len(self._names)} ModelServers exist",
            [
                Row("until it has looked at all", seconds, "s"),
                await self._changed_since(versions),
                *_spent(before, after),
            ],
        )

    # Causing…

    async def _write_all(self, poll_seconds: int) -> None:
        slots = asyncio.Semaphore(_WRITES_AT_ONCE)

        async def write(name: str) -> None:
            async with slots:
                manifest = model_server(name, poll_seconds)
                await self._world.api.apply(manifest, manager="benchmark")

        async with asyncio.TaskGroup() as tasks:
            for name in self._names:
                tasks.create_task(write(name))

    async def _version_change(self, pods: asyncio.subprocess.Process, version: int) -> None:
        assert pods.stdin is not None
        name = random.choice(self._names)
        pods.stdin.write(f"{name} {version}\n".encode())
        await self._world.servers.until_all([name], lambda server: shows(server, version))

    # Waiting…

    async def _timed(self, work: Awaitable[None]) -> float:
        began = _now()
        await work
        return _now() - began

    async def _until_all(self, hold: Callable[[JsonObject], bool], word: str) -> None:
        progress = _Progress(len(self._names), word)
        await self._world.servers.until_all(self._names, hold, progress)

    async def _until_all_configs_are_written(self) -> None:
        names = [config_map_name(name) for name in self._names]
        await self._world.configs.until_all(names, is_rewritten)

    async def _until_reconciled(self) -> None:
        while (await self._operator.read()).durations.count < len(self._names):  # noqa: ASYNC110
            await asyncio.sleep(0.25)

    async def _settle(self) -> _Moment:
        """Wait until the operator has written nothing for a while."""
        moment = await self._look()
        began = quiet_since = _now()
        while _now() - quiet_since < _QUIET_SECONDS and _now() - began < _SETTLE_SECONDS:
            await asyncio.sleep(2)
            latest = await self._look()
            if latest.calls["write"] != moment.calls["write"]:
                _say("Waiting until the operator has written nothing for a while")
                quiet_since = _now()
            moment = latest
        return moment

    # Seeing…

    async def _look(self) -> _Moment:
        return _Moment(await self._operator.read(), await count_calls(self._world.api))

    async def _changed_since(self, versions: Versions) -> Row:
        changed = changed_objects(versions, await object_versions(self._world.api))
        for line in changed[:_MOST_NAMED]:
            _say(f"Changed: {line}")
        return Row("objects changed, by anyone", len(changed), f"of {len(versions):,}")


def is_ready(server: JsonObject) -> bool:
    """Whether the ModelServer is Ready, and says so about its present spec."""
    return _is_true(server, "Ready")


def is_converged(server: JsonObject) -> bool:
    """Whether the pods do what the changed spec says."""
    return _is_true(server, "VersionsConverged") and (
        server["spec"]["models"][0]["pollSeconds"] == _NEW_POLL_SECONDS
    )


def is_rewritten(config_map: JsonObject) -> bool:
    """Whether the servers' config document says what the changed spec says."""
    return f'"pollSeconds":{_NEW_POLL_SECONDS}' in config_map["data"][CONFIG_FILE]


def shows(server: JsonObject, version: int) -> bool:
    """Whether the status says that this version is available."""
    models = ModelServerStatus.parse(server["status"]).models
    return any(
        row.version == version and row.state == "Available"
        for model in models
        for row in model.versions
    )


def _is_true(server: JsonObject, condition_type: str) -> bool:
    generation = server["metadata"]["generation"]
    conditions = server.get("status", {}).get("conditions", ())
    return any(
        condition["type"] == condition_type
        and condition["status"] == "True"
        and condition.get("observedGeneration") == generation
        for condition in conditions
    )


def _spent(before: _Moment, after: _Moment) -> list[Row]:
    """What the operator has done in between, and what that took."""
    seconds = after.operator.at - before.operator.at
    cpu = after.operator.cpu_seconds - before.operator.cpu_seconds
    durations = after.operator.durations.since(before.operator.durations)
    calls = after.calls - before.calls
    return [
        Row("reconciliations", durations.count, ""),
        Row("  half took at most", durations.quantile(0.5) * 1000, "ms"),
        Row("  95 % took at most", durations.quantile(0.95) * 1000, "ms"),
        Row("  all took at most", durations.upper_bound * 1000, "ms"),
        Row("requests that write", calls["write"], ""),
        *(Row(f"{sort} requests", calls[sort] / seconds * 60, "a minute") for sort in _READS),
        Row("processor time", cpu, "s"),
        Row("share of one processor", cpu / seconds * 100, "%"),
        Row("memory after", after.operator.resident / _MEBIBYTE, "MiB"),
        Row("memory, the most so far", after.operator.peak / _MEBIBYTE, "MiB"),
    ]


_READS = ("get", "list", "watch", "lease", "discovery")


class _Progress:
    """Shows how many of a number are done, now and then."""

    def __init__(self, count: int, word: str) -> None:
        self._count = count
        self._word = word
        self._said_at = _now()

    def __call__(self, done: int) -> None:
        if _now() - self._said_at >= _PROGRESS_SECONDS:
            self._said_at = _now()
            _say(f"{done} of {self._count} are {self._word}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
