"""What becomes of a key that a worker takes, in virtual time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import wraps

import pytest

from modelserver_operator.api import ModelServerStatus, ModelStatus, VersionStatus
from modelserver_operator.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    UnavailableError,
)
from modelserver_operator.observed import Capabilities, PodSnapshot
from modelserver_operator.polling import PodPoller
from modelserver_operator.reconcile import GONE, Round
from modelserver_operator.telemetry import Telemetry
from modelserver_operator.testing.fake_pods import FakePods
from modelserver_operator.testing.virtual_time import run_in_virtual_time
from modelserver_operator.work_queue import Backoff, Key, WorkQueue
from modelserver_operator.workers import Workers

KEY = Key("ns", "mnist")
SERVING = ModelServerStatus(
    models=(ModelStatus(name="m", versions=(VersionStatus(version=1, state="Available"),)),)
)


class Scene:
    """Workers over a reconciler that does what `outcomes` say, the last one again and again."""

    def __init__(self) -> None:
        self.outcomes: list[Round | Exception] = []
        self.started: list[float] = []
        self.during_the_first: Callable[[], None] = lambda: None
        self.queue: WorkQueue[Key] = WorkQueue(Backoff(first=1), chance=lambda: 0)
        self.telemetry = Telemetry()
        self.poller = PodPoller(FakePods(), lambda _: None, 4)
        self.workers = Workers(
            self.queue, self.reconcile, self.poller, self.telemetry, Capabilities
        )

    async def reconcile(self, key: Key, capabilities: Capabilities) -> Round:
        self.started.append(asyncio.get_running_loop().time())
        if len(self.started) == 1:
            self.during_the_first()
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def run_for(self, seconds: float) -> None:
        running = asyncio.create_task(self.workers.run(2))
        await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    def measured(self, sample: str) -> bool:
        return sample in self.telemetry.render().decode()


def scene(test: Callable[[Scene], Awaitable[None]]) -> Callable[[], None]:
    async def run() -> None:
        await test(Scene())

    @wraps(test)
    def run_test() -> None:
        run_in_virtual_time(run())

    del run_test.__wrapped__  # type: ignore[attr-defined]
    return run_test


@scene
async def test_a_key_is_looked_at_again_when_the_round_says_so(scene: Scene) -> None:
    scene.outcomes = [Round(SERVING, again_seconds=10)]
    scene.queue.add(KEY)

    await scene.run_for(25)

    assert [at - scene.started[0] for at in scene.started] == [0, 10, 20]


@scene
async def test_what_serves_is_shown_until_it_is_gone(scene: Scene) -> None:
    scene.outcomes = [Round(SERVING, again_seconds=10), GONE]
    scene.queue.add(KEY)
    scene.poller.follow(KEY, [PodSnapshot(name="p", uid="u", ip="10.0.0.1")])

    await scene.run_for(5)
    assert scene.measured("modelserver_version_state{")

    await scene.run_for(10)
    assert not scene.measured("modelserver_version_state{")
    assert scene.poller.statistics.pods == 0
    assert KEY not in scene.queue


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ConflictError("x"), "conflict"),
        (UnavailableError("x"), "unavailable"),
        (ForbiddenError("x"), "forbidden"),
        (InvalidError("x"), "invalid"),
        (ClusterError("x"), "error"),
        (ZeroDivisionError("x"), "bug"),
    ],
)
def test_a_failure_is_counted_and_repeated_with_growing_pauses(
    error: Exception, result: str
) -> None:
    @scene
    async def test(scene: Scene) -> None:
        scene.outcomes = [error]
        scene.queue.add(KEY)

        await scene.run_for(10)

        assert [at - scene.started[0] for at in scene.started] == [0, 1, 3, 7]
        assert scene.measured(f'modelserver_operator_reconcile_total{{result="{result}"}} 4.0')

    test()


@scene
async def test_the_api_servers_wish_to_be_left_alone_is_respected(scene: Scene) -> None:
    scene.outcomes = [UnavailableError("slow down", retry_after_seconds=30), Round(SERVING, 600)]
    scene.queue.add(KEY)

    await scene.run_for(100)

    assert [at - scene.started[0] for at in scene.started] == [0, 30]


@scene
async def test_success_after_failures_ends_the_pauses(scene: Scene) -> None:
    trouble = UnavailableError("x")
    scene.outcomes = [trouble, trouble, Round(SERVING, 100), trouble, Round(SERVING, 600)]
    scene.queue.add(KEY)

    await scene.run_for(200)

    assert [at - scene.started[0] for at in scene.started] == [0, 1, 3, 103, 104]


def test_a_bug_is_logged_with_its_traceback_and_a_conflict_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @scene
    async def test(scene: Scene) -> None:
        scene.outcomes = [ConflictError("moved on"), ZeroDivisionError("oops"), Round(SERVING, 600)]
        scene.queue.add(KEY)
        await scene.run_for(60)

    with caplog.at_level(logging.INFO):
        test()

    (logged,) = caplog.records
    assert "ns/mnist: a bug" in logged.getMessage()
    assert logged.exc_info is not None


@scene
async def test_a_key_that_changes_during_its_round_is_done_once_more(scene: Scene) -> None:
    scene.outcomes = [Round(SERVING, 600)]
    scene.during_the_first = lambda: scene.queue.add(KEY)
    scene.queue.add(KEY)

    await scene.run_for(100)

    assert len(scene.started) == 2
