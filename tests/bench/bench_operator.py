"""Measure the operator with many ModelServers on a real API server. Prints tables and writes JSON.

A control plane of its own is started, without nodes. The pods that its controllers make are made to
run by a process that serves a real admin port for each, so that the operator polls them all.
Nothing here passes or fails, and nothing is left behind.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench_operator_phases import Phases, World
from bench_operator_process import end, running_operator, start
from bench_operator_report import Report
from bench_operator_watch import Mirror
from bench_operator_world import NAMESPACE, prepare, write_kubeconfig
from modelserver_operator.cluster.kubernetes_client import connect
from modelserver_operator.cluster.resources import CONFIG_MAP, MODEL_SERVER
from testcluster import lifetime
from testcluster.cluster import Cluster, EmbeddedCluster

_PODS = Path(__file__).with_name("bench_operator_pods.py")


def main(argv: list[str]) -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--count", type=int, default=500, help="number of ModelServers (default: %(default)s)"
    )
    parser.add_argument(
        "--idle-seconds",
        type=float,
        default=600,
        metavar="SECONDS",
        help="how long to watch it do nothing (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--operator-log", type=Path, help="keep the operator's log in this file")
    options = parser.parse_args(argv)
    report = Report({"modelservers": options.count, "load_before": os.getloadavg()[0]})
    cluster = lifetime.start_owned()
    try:
        asyncio.run(measure(cluster, options, report))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 130
    finally:
        lifetime.stop(cluster)
    if options.json:
        report.write(options.json)
        print(f"Written to {options.json}")
    return 0


async def measure(cluster: EmbeddedCluster, options: argparse.Namespace, report: Report) -> None:
    """Go through all phases, with one operator and then with another one."""
    _stop_at_sigterm()
    prepare(cluster)
    # What is in the cluster's folder vanishes with it, even after SIGKILL.
    kubeconfig = write_kubeconfig(cluster, cluster.state.path / "operator.kubeconfig")
    log = options.operator_log or cluster.state.log("operator")
    async with _running_pods(cluster) as pods, _following(cluster) as world:
        async with running_operator(kubeconfig, log) as operator:
            phases = Phases(world, operator, options.count, report)
            await phases.creation()
            await phases.idleness(options.idle_seconds)
            await phases.version_changes(pods)
            await phases.change_of_all()
        async with running_operator(kubeconfig, log) as operator:
            await Phases(world, operator, options.count, report).restart()


@asynccontextmanager
async def _running_pods(cluster: Cluster) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, str(_PODS), str(cluster.kubeconfig), NAMESPACE]
    process = await start(command, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        await end(process)


@asynccontextmanager
async def _following(cluster: Cluster) -> AsyncIterator[World]:
    async with connect(cluster.kubeconfig, timeout_seconds=60) as api:
        world = World(api, Mirror(api, MODEL_SERVER, NAMESPACE), Mirror(api, CONFIG_MAP, NAMESPACE))
        async with asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(m.run()) for m in (world.servers, world.configs)]
            yield world
            for task in following:
                task.cancel()


def _stop_at_sigterm() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
