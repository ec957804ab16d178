"""The operator as a process of its own: its metrics, its memory and its processor time."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

_START_SECONDS = 60
_STOP_SECONDS = 20
_DURATIONS = "modelserver_operator_reconcile_duration_seconds"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations up to each bound, in seconds, cumulative; the last bound is infinite."""

    buckets: tuple[tuple[float, float], ...]

    @property
    def count(self) -> float:
        """Observations in all."""
        return self.buckets[-1][1]

    def since(self, earlier: "Histogram") -> "Histogram":
        """What was observed after `earlier`."""
        pairs = zip(self.buckets, earlier.buckets, strict=True)
        return Histogram(tuple((bound, now - then) for (bound, now), (_, then) in pairs))

    def quantile(self, share: float) -> float:
        """Estimated as Prometheus' histogram_quantile does: evenly spread within a bucket."""
        rank = share * self.count
        for (low, below), (high, upto) in pairwise(((0.0, 0.0), *self.buckets)):
            if upto >= rank and upto > below:
                part = (rank - below) / (upto - below)
                return low + (high - low) * part if high != float("inf") else low
        return 0.0

    @property
    def upper_bound(self) -> float:
        """No observation took longer."""
        return next(bound for bound, upto in ((0.0, 0.0), *self.buckets) if upto == self.count)


@dataclass(frozen=True, slots=True)
class Reading:
    """The operator at one moment. Memory is in bytes; `at` is in seconds on the loop's clock."""

    at: float
    cpu_seconds: float
    resident: int
    peak: int
    durations: Histogram


class OperatorProcess:
    """A running operator. Made by `running_operator`, which also ends it."""

    def __init__(self, pid: int, url: str, session: aiohttp.ClientSession) -> None:
        self._proc = Path("/proc") / str(pid)
        self._url = url
        self._session = session

    async def read(self) -> Reading:
        """Measure it."""
        return Reading(
            at=asyncio.get_running_loop().time(),
            cpu_seconds=self._cpu_seconds(),
            resident=self._memory("VmRSS"),
            peak=self._memory("VmHWM"),
            durations=await self._durations(),
        )

    async def gauge(self, name: str) -> float:
        """One of its metrics that has no labels."""
        found = (family for family in await self._families() if family.name == name)
        return next(found).samples[0].value

    async def _durations(self) -> Histogram:
        family = next(family for family in await self._families() if family.name == _DURATIONS)
        buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
        return Histogram(tuple((float(sample.labels["le"]), sample.value) for sample in buckets))

    async def _families(self) -> list[Metric]:
        return list(text_string_to_metric_families(await self.page("metrics")))

    async def page(self, name: str) -> str:
        """What it answers to GET /name."""
        async with self._session.get(f"{self._url}/{name}") as response:
            return await response.text()

    def _memory(self, field: str) -> int:
        lines = (self._proc / "status").read_text().splitlines()
        line = next(line for line in lines if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024

    def _cpu_seconds(self) -> float:
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@asynccontextmanager
async def running_operator(
    kubeconfig: Path, log: Path, flags: Sequence[str] = ()
) -> AsyncIterator[OperatorProcess]:
    """Start an operator, yield it once it leads, and end it."""
    port = _free_port()
    command = [sys.executable, "-m", "modelserver_operator", f"--kubeconfig={kubeconfig}"]
    outlets = ["--health-host=127.0.0.1", f"--health-port={port}"]
    async with aiohttp.ClientSession() as session:
        with log.open("ab") as output:
            process = await start([*command, *outlets, *flags], stdout=output, stderr=output)
        operator = OperatorProcess(process.pid, f"http://127.0.0.1:{port}", session)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await _until_it_leads(operator, process)
            yield operator
        finally:
            await end(process)


async def start(command: Sequence[str], **streams: Any) -> asyncio.subprocess.Process:
    """Start a process that never outlives this one, not even after SIGKILL. Call it on the main
    thread.
    """
    return await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "--", *command, **streams
    )


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process with SIGTERM, and if that is in vain, with SIGKILL."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until_it_leads(operator: OperatorProcess, process: asyncio.subprocess.Process) -> None:
    while process.returncode is None:
        with suppress(aiohttp.ClientError):
            if await operator.gauge("modelserver_operator_leader"):
                return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the operator has ended with {process.returncode}: see --operator-log")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
