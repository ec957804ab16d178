"""Replicas of an operator that does nothing: for tests of leader election in virtual time."""

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

from modelserver_operator.leader import LeaderElector
from modelserver_operator.lease import LeaseClient

_EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


class LedTask:
    """A task that runs until it is cancelled, takes `wind_down` seconds to end, and knows when it
    did.
    """

    def __init__(self, wind_down: float = 0.0) -> None:
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.end_time = 0.0
        self._wind_down = wind_down

    async def __call__(self) -> None:
        """Run, once."""
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self._wind_down)
            self.end_time = asyncio.get_running_loop().time()
            self.ended.set()


def replica(
    client: LeaseClient,
    identity: str = "a",
    *,
    skew: timedelta = timedelta(0),
    exit_process: Callable[[int], object] = sys.exit,
) -> LeaderElector:
    """An elector with a wall clock that may be wrong and a jitter that repeats. Exiting the process
    is not expected: by default it fails the test.
    """

    def wall_clock() -> datetime:
        return _EPOCH + skew + timedelta(seconds=asyncio.get_running_loop().time())

    jitter = itertools.cycle([0.0, 0.9, 0.5]).__next__
    return LeaderElector(
        client,
        identity,
        wall_clock=wall_clock,
        jitter=jitter,
        exit_process=exit_process,
    )


@contextlib.asynccontextmanager
async def running(
    elector: LeaderElector, led: Callable[[], Awaitable[object]]
) -> AsyncIterator["asyncio.Task[None]"]:
    """Run the replica, and tell it to stop at the end of the block; waits until it has."""
    task = asyncio.create_task(elector.run(led))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
