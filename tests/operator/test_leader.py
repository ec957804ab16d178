"""What one replica does, in virtual time, against a Lease in memory and a network that does what it
is told.
"""

import asyncio
import dataclasses

import pytest

from modelserver_operator.errors import ForbiddenError
from modelserver_operator.leader import (
    Action,
    LeaderElector,
    LeadershipLostError,
    LeaseTiming,
    LeaseView,
    decide,
)
from modelserver_operator.lease import LeaseRecord
from modelserver_operator.testing.fake_lease import FakeLease, FakeLeaseClient, Hop
from modelserver_operator.testing.replica import LedTask, replica, running
from modelserver_operator.testing.virtual_time import VirtualTimeLoop, run_in_virtual_time

TIMING = LeaseTiming()


def stored(holder: str, duration_seconds: int = 10) -> LeaseRecord:
    return LeaseRecord(holder, duration_seconds, metadata={"resourceVersion": "1"})


# The rules…


@pytest.mark.parametrize(
    ("view", "now", "action"),
    [
        pytest.param(LeaseView(), 0.0, Action.ACQUIRE, id="no lease yet"),
        pytest.param(LeaseView(stored("")), 0.0, Action.ACQUIRE, id="given up"),
        pytest.param(LeaseView(stored("b")), 9.9, Action.WAIT, id="another's"),
        pytest.param(LeaseView(stored("b")), 10.0, Action.ACQUIRE, id="another's, unchanged"),
        pytest.param(LeaseView(stored("b", 30)), 29.9, Action.WAIT, id="another's promise is 30 s"),
        pytest.param(LeaseView(stored("b", 0)), 9.9, Action.WAIT, id="another's without a promise"),
        pytest.param(LeaseView(LeaseRecord("b", 10)), 9.9, Action.WAIT, id="another's, deleted"),
        pytest.param(LeaseView(stored("a")), 0.0, Action.ACQUIRE, id="ours, the answer was lost"),
        pytest.param(LeaseView(stored("a"), renewed=0.0), 6.9, Action.RENEW, id="leading"),
        pytest.param(LeaseView(stored("a"), renewed=0.0), 7.0, Action.STEP_DOWN, id="not renewed"),
        pytest.param(LeaseView(stored("b"), renewed=0.0), 1.0, Action.STEP_DOWN, id="taken"),
        pytest.param(LeaseView(stored(""), renewed=0.0), 1.0, Action.STEP_DOWN, id="taken away"),
        pytest.param(LeaseView(LeaseRecord("a"), renewed=0.0), 1.0, Action.STEP_DOWN, id="deleted"),
    ],
)
def test_a_replica_does_what_the_rules_say(view: LeaseView, now: float, action: Action) -> None:
    assert decide(view, "a", now, TIMING) is action


def test_only_a_changed_record_counts_as_a_sign_of_life() -> None:
    first = LeaseView().seen(stored("b"), 5.0)

    again = first.seen(stored("b"), 9.0)
    changed = first.seen(LeaseRecord("b", 10, metadata={"resourceVersion": "2"}), 9.0)

    assert again.expiry(TIMING) == 15.0
    assert changed.expiry(TIMING) == 19.0


def test_a_deleted_lease_is_no_sign_of_life_and_no_sign_of_death() -> None:
    view = LeaseView().seen(stored("b"), 5.0).seen(None, 9.0)

    assert view.expiry(TIMING) == 15.0
    assert not view.record.exists


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"request_timeout": 7.0}, id="a request may outlast the renew deadline"),
        pytest.param({"renew_deadline": 9.0}, id="the task may outlast the lease"),
    ],
)
def test_timings_that_let_two_lead_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        LeaseTiming(**wrong)  # type: ignore[arg-type]


def test_a_replica_without_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="identity"):
        LeaderElector(FakeLeaseClient(FakeLease()), "")


# One replica…


def now() -> float:
    return asyncio.get_running_loop().time()


def test_where_no_lease_exists_it_is_created() -> None:
    async def scenario() -> LeaseRecord | None:
        lease, work = FakeLease(), LedTask()
        elector = replica(FakeLeaseClient(lease))
        async with running(elector, work):
            await work.started.wait()
            assert elector.is_leader
            return lease.record

    record = run_in_virtual_time(scenario())

    assert record is not None
    assert (record.holder, record.duration_seconds, record.transitions) == ("a", 10, 0)
    assert record.acquire_time == record.renew_time is not None


def test_renewing_keeps_when_it_was_acquired_and_counts_no_transition() -> None:
    async def scenario() -> LeaseRecord | None:
        lease, work = FakeLease(), LedTask()
        async with running(replica(FakeLeaseClient(lease)), work):
            await asyncio.sleep(60)
            return lease.record

    record = run_in_virtual_time(scenario())

    assert record is not None
    assert record.acquire_time is not None
    assert record.renew_time is not None
    assert (record.renew_time - record.acquire_time).total_seconds() > 57
    assert record.transitions == 0


def test_a_lease_is_renewed_every_two_seconds_with_one_request() -> None:
    async def scenario() -> int:
        client, work = FakeLeaseClient(FakeLease()), LedTask()
        async with running(replica(client), work):
            await asyncio.sleep(600)
            return client.requests

    assert 300 <= run_in_virtual_time(scenario()) <= 430


def test_the_work_ending_gives_the_lease_up_and_ends_the_run() -> None:
    async def scenario() -> FakeLease:
        lease = FakeLease()
        await replica(FakeLeaseClient(lease)).run(lambda: asyncio.sleep(30))
        return lease

    record = run_in_virtual_time(scenario()).record

    assert record is not None
    assert (record.holder, record.duration_seconds) == ("", 1)


def test_the_work_failing_gives_the_lease_up_and_comes_through() -> None:
    lease = FakeLease()

    async def failing() -> None:
        await asyncio.sleep(30)
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        run_in_virtual_time(replica(FakeLeaseClient(lease)).run(failing))

    assert lease.record is not None
    assert lease.record.holder == ""


def test_a_replica_leads_no_longer_once_its_work_has_ended() -> None:
    async def scenario() -> bool:
        elector = replica(FakeLeaseClient(FakeLease()))
        await elector.run(lambda: asyncio.sleep(30))
        return elector.is_leader

    assert not run_in_virtual_time(scenario())


@pytest.mark.parametrize(
    "hop",
    [
        pytest.param(Hop(is_refused=True), id="refused"),
        pytest.param(Hop(is_lost=True), id="lost"),
        pytest.param(Hop(is_answer_lost=True), id="answer lost"),
        pytest.param(Hop(there=2.0, back=2.0), id="slow"),
    ],
)
@pytest.mark.parametrize("index", range(5))
def test_one_failed_request_is_only_a_retry(hop: Hop, index: int) -> None:
    async def scenario() -> float:
        lease, work = FakeLease(), LedTask()
        start = now()
        elector = replica(FakeLeaseClient(lease, [*[Hop()] * index, hop]))
        async with running(elector, work):
            await work.started.wait()
            led_after = now() - start
            await asyncio.sleep(60)
            assert elector.is_leader
        return led_after

    assert run_in_virtual_time(scenario()) < 6


def test_a_black_holed_api_server_ends_the_work_before_anybody_may_take_over() -> None:
    async def scenario() -> tuple[float, float, FakeLease]:
        lease, work = FakeLease(), LedTask(wind_down=1.5)
        client = FakeLeaseClient(lease)
        async with running(replica(client), work) as run:
            await asyncio.sleep(60)
            client.unplug()
            cut = now()
            with pytest.raises(LeadershipLostError, match="could not be renewed for 7 s"):
                await run
            return work.end_time - cut, now() - cut, lease

    ended, returned, lease = run_in_virtual_time(scenario())

    assert 4 < ended < 7 + 1.5
    assert returned < 7 + 1.5 + 3
    assert lease.record is not None
    assert lease.record.holder == "a"  # nobody could be told


def test_work_that_does_not_end_takes_the_process_with_it_before_the_lease_expires() -> None:
    async def scenario() -> tuple[list[int], float]:
        client, work = FakeLeaseClient(FakeLease()), LedTask(wind_down=60)
        exits: list[int] = []
        exited = asyncio.Event()

        def exit_process(code: int) -> None:
            exits.append(code)
            exited.set()

        async with running(replica(client, exit_process=exit_process), work):
            await asyncio.sleep(60)
            client.unplug()
            cut = now()
            await exited.wait()
            return exits, now() - cut

    exits, seconds = run_in_virtual_time(scenario())

    assert exits == [1]
    assert seconds < 10


def test_work_that_ends_in_time_leaves_the_process_alone() -> None:
    async def scenario() -> None:
        client, work = FakeLeaseClient(FakeLease()), LedTask(wind_down=1.9)
        async with running(replica(client), work) as run:
            await work.started.wait()
            client.unplug()
            with pytest.raises(LeadershipLostError):
                await run
            await asyncio.sleep(60)

    run_in_virtual_time(scenario())


def test_a_process_that_was_stopped_for_longer_than_its_lease_exits_at_once() -> None:
    async def scenario() -> list[int]:
        exits: list[int] = []
        steps_after_the_stop = 0

        async def working() -> None:
            nonlocal steps_after_the_stop
            await asyncio.sleep(5)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            loop.jump(30)
            assert not elector.is_leader
            while not exits:
                steps_after_the_stop += 1
                await asyncio.sleep(0)
            await asyncio.Event().wait()

        elector = replica(FakeLeaseClient(FakeLease()), exit_process=exits.append)
        with pytest.raises(LeadershipLostError):
            await elector.run(working)
        assert steps_after_the_stop <= 2  # of the loop: before it looks at its timers, and while
        return exits

    assert run_in_virtual_time(scenario()) == [1]


def test_an_answer_older_than_leadership_lasts_makes_no_leader() -> None:
    async def scenario() -> bool:
        lease, work = FakeLease(), LedTask()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        elector = replica(FakeLeaseClient(lease, [Hop(0.0, 0.0), Hop(0.5, 0.5)]))
        async with running(elector, work):
            # The claim is stored, then the process is stopped while the answer arrives.
            await asyncio.sleep(0.9)
            assert lease.writes == 1
            loop.jump(30)
            await asyncio.sleep(0.001)
            return work.started.is_set()

    assert not run_in_virtual_time(scenario())


def test_a_deleted_lease_ends_leadership() -> None:
    async def scenario() -> None:
        lease, work = FakeLease(), LedTask()
        async with running(replica(FakeLeaseClient(lease)), work) as run:
            await work.started.wait()
            lease.delete()
            with pytest.raises(LeadershipLostError, match="deleted"):
                await run
            assert work.ended.is_set()

    run_in_virtual_time(scenario())


def test_a_lease_that_somebody_else_took_ends_leadership_and_stays_theirs() -> None:
    async def scenario() -> FakeLease:
        lease, work = FakeLease(), LedTask()
        async with running(replica(FakeLeaseClient(lease)), work) as run:
            await work.started.wait()
            assert lease.record is not None
            lease.update(dataclasses.replace(lease.record, holder="b"))
            with pytest.raises(LeadershipLostError, match="held by b"):
                await run
        return lease

    lease = run_in_virtual_time(scenario())

    assert lease.record is not None
    assert lease.record.holder == "b"


def test_a_conflict_that_leaves_the_holder_alone_is_only_a_retry() -> None:
    async def scenario() -> LeaseRecord | None:
        lease, work = FakeLease(), LedTask()
        elector = replica(FakeLeaseClient(lease))
        async with running(elector, work):
            for _ in range(20):
                await asyncio.sleep(3)
                assert lease.record is not None
                labelled = {**lease.record.metadata, "labels": {"team": "ml"}}
                lease.update(dataclasses.replace(lease.record, metadata=labelled))
            assert elector.is_leader
            return lease.record

    record = run_in_virtual_time(scenario())

    assert record is not None
    assert record.metadata["labels"] == {"team": "ml"}


def test_a_follower_without_rights_says_so_once_and_goes_on_trying(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Forbidding(FakeLeaseClient):
        async def get(self) -> LeaseRecord | None:
            self.requests += 1
            raise ForbiddenError("leases is forbidden")

    async def scenario() -> int:
        client = Forbidding(FakeLease())
        async with running(replica(client), LedTask()):
            await asyncio.sleep(60)
        return client.requests

    assert run_in_virtual_time(scenario()) > 20
    assert [record.message for record in caplog.records if "forbidden" in record.message] == [
        caplog.records[0].message
    ]


def test_a_bug_in_the_client_is_not_taken_for_an_outage() -> None:
    class Broken(FakeLeaseClient):
        async def get(self) -> LeaseRecord | None:
            raise KeyError("bug")

    with pytest.raises(KeyError):
        run_in_virtual_time(replica(Broken(FakeLease())).run(LedTask()))
