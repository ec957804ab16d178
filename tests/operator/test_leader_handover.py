"""What several replicas do to each other, in virtual time: hand over, take over, never overlap."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver_operator.leader import LeadershipLostError
from modelserver_operator.testing.fake_lease import FakeLease, FakeLeaseClient, Hop
from modelserver_operator.testing.replica import LedTask, replica, running
from modelserver_operator.testing.virtual_time import run_in_virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


async def takeover_after(
    stop_a: Callable[[FakeLeaseClient, "asyncio.Task[None]"], object],
    skew: timedelta = timedelta(0),
    wind_down: float = 0.0,
) -> float:
    """Seconds from `stop_a` on the leading replica until the other leads."""
    lease = FakeLease()
    client_a = FakeLeaseClient(lease)
    work_a, work_b = LedTask(wind_down), LedTask()
    a = replica(client_a, "a", skew=skew)
    b = replica(FakeLeaseClient(lease), "b")
    async with running(a, work_a) as run_a, running(b, work_b):
        await asyncio.sleep(61.3)
        assert work_a.started.is_set()
        assert not work_b.started.is_set()
        stopped = now()
        stop_a(client_a, run_a)
        await work_b.started.wait()
        assert work_a.ended.is_set() or work_a.end_time == 0.0
        assert b.transitions >= 1
        return now() - stopped


def crash(client: FakeLeaseClient, run: "asyncio.Task[None]") -> None:
    client.unplug()
    run.cancel()


@pytest.mark.parametrize("wind_down", [0.0, 0.4])
def test_a_replica_told_to_stop_hands_over_in_less_than_three_seconds(wind_down: float) -> None:
    async def scenario() -> float:
        return await takeover_after(lambda _, run: run.cancel(), wind_down=wind_down)

    assert run_in_virtual_time(scenario()) < 3


@pytest.mark.parametrize("skew_minutes", [-5, 0, 5])
def test_a_crashed_leader_is_replaced_within_its_lease_and_one_retry(skew_minutes: int) -> None:
    async def scenario() -> float:
        return await takeover_after(crash, skew=timedelta(minutes=skew_minutes))

    assert 7 < run_in_virtual_time(scenario()) < 10 + 2.1


def test_a_black_holed_leader_is_replaced_and_the_two_never_overlap() -> None:
    async def scenario() -> float:
        return await takeover_after(lambda client, _: client.unplug(), wind_down=1.9)

    assert 7 < run_in_virtual_time(scenario()) < 10 + 2.1


@pytest.mark.parametrize("b_starts_after", [0.1, 0.6, 1.1, 1.6])
def test_a_renewal_counts_from_when_it_was_sent_however_late_its_answer(
    b_starts_after: float,
) -> None:
    async def scenario() -> tuple[float, float]:
        lease, work_a, work_b = FakeLease(), LedTask(wind_down=1.9), LedTask()
        hops = [Hop(), Hop(), Hop(there=0.0, back=2.9), Hop(is_lost=True)]
        client = FakeLeaseClient(lease, hops)
        async with running(replica(client), work_a):
            await asyncio.sleep(b_starts_after)
            async with running(replica(FakeLeaseClient(lease), "b"), work_b):
                await asyncio.sleep(5.1 - b_starts_after)
                assert client.requests == 4  # so the third was answered
                client.unplug()
                await work_b.started.wait()
                return work_a.end_time, now()

    ended, taken_over = run_in_virtual_time(scenario())

    assert 0 < ended < taken_over


def test_a_record_is_honoured_from_when_it_was_received_however_early_it_was_asked_for() -> None:
    async def scenario() -> tuple[float, float]:
        lease, work_a, work_b = FakeLease(), LedTask(wind_down=1.9), LedTask()
        client_a = FakeLeaseClient(lease)
        client_b = FakeLeaseClient(lease, [Hop(there=2.9)])
        async with running(replica(client_a), work_a):
            await asyncio.sleep(0.7)
            async with running(replica(client_b, "b"), work_b):
                await asyncio.sleep(2.85)
                assert lease.writes == 3  # the second renewal has just arrived, b's request has not
                client_a.unplug()
                await work_b.started.wait()
                return work_a.end_time, now()

    ended, taken_over = run_in_virtual_time(scenario())

    assert 0 < ended < taken_over


def test_a_slow_ending_is_covered_by_renewals() -> None:
    async def scenario() -> float:
        return await takeover_after(lambda _, run: run.cancel(), wind_down=45)

    assert 45 < run_in_virtual_time(scenario()) < 45 + 3


def test_a_transition_is_counted_for_each_change_of_hands() -> None:
    async def scenario() -> FakeLease:
        lease = FakeLease()
        for identity in ("a", "b", "c"):
            await replica(FakeLeaseClient(lease), identity).run(lambda: asyncio.sleep(3))
        return lease

    record = run_in_virtual_time(scenario()).record

    assert record is not None
    assert record.transitions == 2


# Any replicas, in any weather…


@dataclass(frozen=True)
class Life:
    """One process of a replica."""

    hops: list[Hop]
    cut_after: float
    """When its network goes black."""
    seconds: float
    """When it is killed or told to stop."""
    work_seconds: float
    wind_down: float
    skew_seconds: int
    is_crash: bool


def lives() -> st.SearchStrategy[list[Life]]:
    delay = st.one_of(st.floats(0, 0.2), st.floats(0, 4), st.floats(0, 15))
    rarely = st.sampled_from([False] * 5 + [True])
    hop = st.builds(
        Hop, there=delay, back=delay, is_refused=rarely, is_lost=rarely, is_answer_lost=rarely
    )
    life = st.builds(
        Life,
        hops=st.lists(hop, max_size=12),
        cut_after=st.floats(5, 80),
        seconds=st.floats(0, 80),
        work_seconds=st.sampled_from([10_000.0, 10_000.0, 5.0]),
        wind_down=st.sampled_from([0.0, 1.9, 30.0]),
        skew_seconds=st.sampled_from([0, 300, -300]),
        is_crash=st.booleans(),
    )
    return st.lists(life, min_size=1, max_size=4)


class World:
    """Where processes run, crash and exit; work that starts beside other work fails the test."""

    def __init__(self) -> None:
        self.lease = FakeLease()
        self.working: set[str] = set()

    async def lives(self, name: str, lives: list[Life]) -> None:
        for number, life in enumerate(lives):
            await Process(self, f"{name}{number}", life).live()
            await asyncio.sleep(1)


class Process:
    """One life of a replica."""

    def __init__(self, world: World, name: str, life: Life) -> None:
        self._world = world
        self._name = name
        self._life = life
        self._client = FakeLeaseClient(world.lease, life.hops)
        self._dead = asyncio.Event()

    async def live(self) -> None:
        skew = timedelta(seconds=self._life.skew_seconds)
        elector = replica(self._client, self._name, skew=skew, exit_process=self._die)
        loop = asyncio.get_running_loop()
        cut = loop.call_later(self._life.cut_after, self._client.unplug)
        async with running(elector, self._work) as run:
            death = asyncio.create_task(self._dead.wait())
            ends = asyncio.wait([run, death], return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ends, self._life.seconds)
            if self._life.is_crash and not run.done():
                self._die(9)
        cut.cancel()
        death.cancel()
        if not run.cancelled() and (error := run.exception()) is not None:
            assert isinstance(error, LeadershipLostError), repr(error)

    def _die(self, code: int) -> None:
        del code
        self._client.unplug()
        self._world.working.discard(self._name)
        self._dead.set()

    async def _work(self) -> None:
        assert not self._world.working, f"{self._name} works beside {self._world.working}"
        self._world.working.add(self._name)
        try:
            await asyncio.sleep(self._life.work_seconds)
        finally:
            try:
                await asyncio.sleep(self._life.wind_down)
            finally:
                self._world.working.discard(self._name)


@settings(deadline=None)
@given(replicas=st.lists(lives(), min_size=2, max_size=3))
def test_no_two_replicas_ever_work_at_once(replicas: list[list[Life]]) -> None:
    async def scenario() -> World:
        world = World()
        async with asyncio.TaskGroup() as tasks:
            for name, life in zip("abc", replicas, strict=False):
                tasks.create_task(world.lives(name, life))
        return world

    assert not run_in_virtual_time(scenario()).working


@settings(deadline=None)
@given(replicas=st.lists(lives(), min_size=2, max_size=2))
def test_when_the_weather_clears_somebody_leads(replicas: list[list[Life]]) -> None:
    async def scenario() -> bool:
        world = World()
        async with asyncio.TaskGroup() as tasks:
            for name, life in zip("ab", replicas, strict=True):
                tasks.create_task(world.lives(name, life))
        work = LedTask()
        async with running(replica(FakeLeaseClient(world.lease), "z"), work):
            await asyncio.sleep(20)
            return work.started.is_set()

    assert run_in_virtual_time(scenario())
