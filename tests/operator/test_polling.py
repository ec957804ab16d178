"""The poller, in virtual time, over pods in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps

import pytest

from modelserver_operator.admin_client import Answer
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import PodSnapshot
from modelserver_operator.polling import PodPoller, PollingStatistics
from modelserver_operator.testing.fake_pods import FakePods
from modelserver_operator.testing.virtual_time import run_in_virtual_time
from modelserver_operator.work_queue import Key

OWNER, OTHER = Key("ns", "mnist"), Key("ns", "other")
IP = "10.0.0.1"


class Scene:
    """A poller that runs, its pods, and whom it has woken."""

    def __init__(self) -> None:
        self.pods = FakePods()
        self.woken: list[Key] = []
        self.poller = PodPoller(self.pods, self.woken.append, 4, chance=lambda: 0.5)

    @asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.poller.run())
            yield
            running.cancel()

    def fetches_of(self, ip: str) -> int:
        return [fetched for fetched, _ in self.pods.fetches].count(ip)


def scene(test: Callable[[Scene], Awaitable[None]]) -> Callable[[], None]:
    async def run() -> None:
        the_scene = Scene()
        async with the_scene.polling():
            await test(the_scene)

    @wraps(test)
    def run_test() -> None:
        run_in_virtual_time(run())

    del run_test.__wrapped__  # type: ignore[attr-defined]
    return run_test


def pod(uid: str = "uid-1", ip: str = IP) -> PodSnapshot:
    return PodSnapshot(name=uid, uid=uid, ip=ip)


def report(uid: str = "uid-1", **more: object) -> JsonObject:
    return {"podUid": uid, "podName": uid, **more}


async def an_instant() -> None:
    """Long enough for what is due, too short for anything else."""
    await asyncio.sleep(0.01)


@scene
async def test_a_new_pod_is_asked_at_once(scene: Scene) -> None:
    scene.pods.report(IP, report(configHash="abc"))

    scene.poller.follow(OWNER, [pod()])
    await an_instant()

    assert scene.poller.reports(OWNER)["uid-1"].config_hash == "abc"
    assert scene.woken == [OWNER]


@scene
async def test_a_pod_is_asked_every_four_seconds(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.poller.follow(OWNER, [pod()])

    await asyncio.sleep(39.9)

    assert scene.fetches_of(IP) == 10


@scene
async def test_following_the_same_pods_again_asks_no_sooner(scene: Scene) -> None:
    scene.pods.report(IP, report())
    for _ in range(50):
        scene.poller.follow(OWNER, [pod()])
        await an_instant()

    assert scene.fetches_of(IP) == 1


@scene
async def test_an_unchanged_report_wakes_nobody(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.poller.follow(OWNER, [pod()])
    await asyncio.sleep(60)

    assert scene.woken == [OWNER]
    assert scene.pods.fetches[-1][1], "the etag was not sent"


@scene
async def test_a_changed_report_wakes_its_owner(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.poller.follow(OWNER, [pod()])
    await asyncio.sleep(20)
    scene.pods.report(IP, report(ready=True))

    await asyncio.sleep(5)

    assert scene.woken == [OWNER, OWNER]
    assert scene.poller.reports(OWNER)["uid-1"].ready


@scene
async def test_progress_that_ticks_wakes_nobody(scene: Scene) -> None:
    scene.poller.follow(OWNER, [pod()])
    for percent in range(10):
        scene.pods.report(IP, report(progress={"loaded": percent}))
        await asyncio.sleep(5)

    assert scene.woken[1:] == []


@scene
async def test_a_pod_without_an_address_is_asked_when_it_has_one(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.poller.follow(OWNER, [pod(ip="")])
    await asyncio.sleep(20)
    assert scene.pods.fetches == []

    scene.poller.follow(OWNER, [pod()])
    await an_instant()

    assert "uid-1" in scene.poller.reports(OWNER)


@scene
async def test_a_pod_that_never_answered_is_unreachable_at_once(scene: Scene) -> None:
    scene.poller.follow(OWNER, [pod()])
    await an_instant()

    assert "refused" in scene.poller.unreachable(OWNER)["uid-1"]
    assert scene.poller.reports(OWNER) == {}
    assert scene.woken == [OWNER]


@scene
async def test_one_missed_answer_changes_nothing(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.poller.follow(OWNER, [pod()])
    await asyncio.sleep(1)
    scene.pods.silence(IP)
    await asyncio.sleep(3.5)
    scene.pods.report(IP, report())
    await asyncio.sleep(20)

    assert scene.woken == [OWNER]
    assert scene.poller.unreachable(OWNER) == {}


@scene
async def test_the_second_missed_answer_makes_a_pod_unreachable_soon(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.poller.follow(OWNER, [pod()])
    await asyncio.sleep(1)
    scene.pods.silence(IP)

    await asyncio.sleep(4.5)

    assert scene.poller.unreachable(OWNER).keys() == {"uid-1"}
    assert scene.poller.reports(OWNER) == {}
    assert scene.woken == [OWNER, OWNER]


@scene
async def test_a_pod_that_stays_unreachable_wakes_its_owner_once(scene: Scene) -> None:
    scene.poller.follow(OWNER, [pod()])

    await asyncio.sleep(300)

    assert scene.woken == [OWNER]
    assert scene.fetches_of(IP) > 50


@scene
async def test_a_pod_that_answers_again_is_reachable(scene: Scene) -> None:
    scene.poller.follow(OWNER, [pod()])
    await asyncio.sleep(20)
    scene.pods.report(IP, report())

    await asyncio.sleep(5)

    assert scene.poller.unreachable(OWNER) == {}
    assert scene.woken == [OWNER, OWNER]


@scene
async def test_an_answer_of_another_pod_counts_as_none(scene: Scene) -> None:
    scene.pods.report(IP, report("uid-of-its-predecessor"))

    scene.poller.follow(OWNER, [pod()])
    await an_instant()

    assert scene.poller.reports(OWNER) == {}
    assert "another pod answers at 10.0.0.1" in scene.poller.unreachable(OWNER)["uid-1"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"podUid": 3, "models": 4}'])
def test_an_answer_that_is_no_report_is_told(body: bytes) -> None:
    @scene
    async def test(scene: Scene) -> None:
        scene.pods.answer(IP, body)
        scene.poller.follow(OWNER, [pod()])
        await an_instant()

        assert scene.poller.reports(OWNER) == {}
        assert scene.poller.unreachable(OWNER)["uid-1"]

    test()


@scene
async def test_a_pod_with_another_address_is_asked_there_at_once(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.pods.report("10.0.0.2", report(configHash="moved"))
    scene.poller.follow(OWNER, [pod()])
    await asyncio.sleep(1)

    scene.poller.follow(OWNER, [pod(ip="10.0.0.2")])
    await an_instant()

    assert scene.poller.reports(OWNER)["uid-1"].config_hash == "moved"


@scene
async def test_a_pod_that_is_gone_is_asked_no_more(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.poller.follow(OWNER, [pod()])
    await asyncio.sleep(1)
    scene.poller.follow(OWNER, [])
    scene.pods.fetches.clear()

    await asyncio.sleep(60)

    assert scene.pods.fetches == []
    assert scene.poller.reports(OWNER) == {}


@scene
async def test_forgetting_one_owner_leaves_the_pods_of_others(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.pods.report("10.0.0.2", report("uid-2"))
    scene.poller.follow(OWNER, [pod()])
    scene.poller.follow(OTHER, [pod("uid-2", "10.0.0.2")])
    await an_instant()

    scene.poller.forget(OWNER)

    assert scene.poller.reports(OWNER) == {}
    assert scene.poller.reports(OTHER).keys() == {"uid-2"}
    assert scene.poller.statistics == PollingStatistics(pods=1, unreachable=0)


@scene
async def test_statistics_count_pods_and_those_that_do_not_answer(scene: Scene) -> None:
    scene.pods.report(IP, report())
    scene.poller.follow(OWNER, [pod(), pod("uid-2", "10.0.0.2")])
    await an_instant()

    assert scene.poller.statistics == PollingStatistics(pods=2, unreachable=1)


def test_pods_that_hang_do_not_keep_others_waiting() -> None:
    class Hanging:
        """Ten pods answer, the other thirty hang until their timeout of two seconds."""

        async def fetch(self, ip: str, etag: str) -> Answer:
            if not ip.startswith("10.1."):
                await asyncio.sleep(2)
                raise AssertionError
            return Answer(b'{"podUid": "%s"}' % ip.encode(), "")

    async def run() -> list[str]:
        poller = PodPoller(Hanging(), lambda _: None, 4)
        hanging = [pod(f"10.0.0.{n}", f"10.0.0.{n}") for n in range(30)]
        answering = [pod(f"10.1.0.{n}", f"10.1.0.{n}") for n in range(10)]
        poller.follow(OWNER, [*hanging, *answering])
        running = asyncio.create_task(poller.run())
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.wait([running])
        return list(poller.reports(OWNER))

    assert len(run_in_virtual_time(run())) == 10


@scene
async def test_a_pod_that_has_ended_is_asked_no_more(scene: Scene) -> None:
    scene.pods.report(IP, report("whose-address-it-is-now"))

    scene.poller.follow(OWNER, [replace(pod(), phase="Failed")])
    await asyncio.sleep(10)

    assert scene.pods.fetches == []


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"podUid": "u", "models": [{"name": 1e999}]}'])
def test_nothing_that_a_pod_answers_ends_the_polling_of_others(body: bytes) -> None:
    @scene
    async def test(scene: Scene) -> None:
        scene.pods.answer(IP, body)
        scene.pods.report("10.0.0.2", report("uid-2"))
        scene.poller.follow(OWNER, [pod(), pod("uid-2", "10.0.0.2")])
        await asyncio.sleep(10)

        assert set(scene.poller.unreachable(OWNER)) == {"uid-1"}
        assert scene.fetches_of("10.0.0.2") > 1

    test()


def test_a_bug_in_asking_one_pod_is_that_pods_trouble(caplog: pytest.LogCaptureFixture) -> None:
    class Surprising:
        async def fetch(self, ip: str, etag: str) -> Answer:
            raise LookupError("who would have thought")

    async def run() -> str:
        poller = PodPoller(Surprising(), lambda _: None, 4)
        poller.follow(OWNER, [pod()])
        running = asyncio.create_task(poller.run())
        await asyncio.sleep(10)
        running.cancel()
        await asyncio.wait([running])
        return poller.unreachable(OWNER)["uid-1"]

    assert "who would have thought" in run_in_virtual_time(run())
    assert "a bug in asking pod 10.0.0.1" in caplog.text
