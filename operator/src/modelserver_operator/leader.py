"""Leader election: of the operator's replicas, one at a time does the work.

The rules are a pure function, `decide`; `LeaderElector` runs them against a Lease. That no two lead
rests on three things only: every write names the record that it replaces; a follower takes over
when the record has not changed for the lease's duration *on its own monotonic clock*; and the
leader's work has ended, or its process has, before that long has passed since its last renewal was
*sent*. What wall clocks show plays no part. A Lease that somebody deletes ends its holder's
leadership at the next renewal; who first looks at it in those two seconds may lead too soon.
"""

import asyncio
import enum
import logging
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from modelserver_operator.errors import ClusterError, ConflictError, NotFoundError, OperatorError
from modelserver_operator.lease import LeaseClient, LeaseRecord

logger = logging.getLogger(__name__)

_UNREACHABLE = (ClusterError, OSError, TimeoutError)


class LeadershipLostError(OperatorError):
    """Leadership ended while the led task was running. The process should end, and be restarted as
    a follower with nothing in its memory.
    """


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """All in seconds. Takeover after a crash: `lease` and one `retry`, at most."""

    lease: int = 10
    """How long followers honour a record that does not change."""
    renew_deadline: float = 7.0
    """How long a leader leads on without having renewed."""
    retry: float = 2.0
    """Between two tries, at most: up to 30 % less, so that replicas do not keep step."""
    request_timeout: float = 3.0
    """How long one try may take; two fit into a renew deadline."""
    wind_down: float = 2.0
    """How long the led task may take to end once leadership is lost, before the process exits."""

    def __post_init__(self) -> None:
        if not self.retry + self.request_timeout < self.renew_deadline:
            raise ValueError(f"a try must be over before the renew deadline: {self}")
        if not self.renew_deadline + self.wind_down < self.lease:
            raise ValueError(f"the led task must have ended before the lease expires: {self}")


class Action(enum.Enum):
    """What a replica does next."""

    ACQUIRE = enum.auto()
    """Write the record with our name in it."""
    RENEW = enum.auto()
    """Write the record again, to show that we live."""
    WAIT = enum.auto()
    """Nothing: somebody else leads."""
    STEP_DOWN = enum.auto()
    """Stop leading, without delay."""


@dataclass(frozen=True, slots=True)
class LeaseView:
    """What one replica knows of the Lease, with times on its own monotonic clock."""

    record: LeaseRecord = field(default_factory=LeaseRecord)
    """The record as last seen. One that has been deleted is kept, as not existing: its holder may
    be unaware.
    """
    unchanged_since: float = 0.0
    """When this record was first seen: it was written then or earlier."""
    renewed: float | None = None
    """When the request was sent that last renewed our leadership; None: we do not lead."""

    def seen(self, record: LeaseRecord | None, now: float) -> "LeaseView":
        """The view after an answer, received at `now`, that the Lease says `record`."""
        if record is None:
            return replace(self, record=replace(self.record, metadata={}))
        if record == self.record:
            return self
        return replace(self, record=record, unchanged_since=now)

    def written(self, record: LeaseRecord, sent: float, now: float) -> "LeaseView":
        """The view after an answer, received at `now`, that our write of `sent` was stored."""
        return LeaseView(record, unchanged_since=now, renewed=sent)

    def expiry(self, timing: LeaseTiming) -> float:
        """When another's record stops to count. The holder's own promise is honoured, so replicas
        with different settings agree.
        """
        return self.unchanged_since + (self.record.duration_seconds or timing.lease)


def decide(view: LeaseView, identity: str, now: float, timing: LeaseTiming) -> Action:
    """What the replica `identity`, which knows `view` at `now`, should do."""
    is_ours = view.record.holder == identity
    if view.renewed is not None:
        may_lead = is_ours and view.record.exists and now < view.renewed + timing.renew_deadline
        return Action.RENEW if may_lead else Action.STEP_DOWN
    # Ours though we do not lead: the answer to our claim was lost.
    is_free = is_ours or not view.record.holder or now >= view.expiry(timing)
    return Action.ACQUIRE if is_free else Action.WAIT


class LeaderElector:
    """Runs one task while, and only while, this replica holds the Lease.

    `identity` must be unique among all processes that may live at the same time. `exit_process` is
    called with 1 when the led task, its leadership lost, would not end in time: it must not return.
    Not thread-safe: everything happens on the event loop, whose clock is the only one trusted.
    """

    def __init__(
        self,
        client: LeaseClient,
        identity: str,
        *,
        timing: LeaseTiming | None = None,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        jitter: Callable[[], float] = random.random,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        if not identity:
            raise ValueError("a replica needs an identity to hold a Lease")
        self._client = client
        self._identity = identity
        self._timing = timing or LeaseTiming()
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._exit_process = exit_process
        self._view = LeaseView()
        self._may_hold = False
        self._watchdog: asyncio.TimerHandle | None = None
        self._trouble = ""

    @property
    def is_leader(self) -> bool:
        """Whether this replica leads at this moment. To be asked on the event loop, before anything
        that only a leader may do: after a pause of the process it is False before the led task has
        been cancelled.
        """
        leads = self._view.renewed is not None
        return leads and self._decide() is Action.RENEW

    @property
    def holder(self) -> str:
        """Identity of who holds the Lease as far as is known; "" for nobody."""
        return self._view.record.holder

    @property
    def transitions(self) -> int:
        """How often the Lease has changed hands, as it says itself."""
        return self._view.record.transitions

    async def run(self, led: Callable[[], Awaitable[object]]) -> None:
        """Wait for leadership, run `led` once, give the Lease up, and return when `led` returns.

        Cancelling ends `led` first (the Lease is renewed until it has ended), then gives the Lease
        up, so that another replica takes over with its next try. What `led` raises comes through.

        Raises `LeadershipLostError`, after `led` was cancelled and has ended, when the Lease could
        not be renewed in time or somebody else holds it.
        """
        try:
            await self._campaign()
            await self._lead(led)
        finally:
            await self._release()

    # Following…

    async def _campaign(self) -> None:
        while True:
            started = self._now()
            await self._attempt(started + self._timing.request_timeout)
            if self._view.renewed is not None:
                logger.info("%s leads now", self._identity)
                return
            await self._pause(started, self._view.expiry(self._timing))

    # Leading…

    async def _lead(self, led: Callable[[], Awaitable[object]]) -> None:
        failure: Exception | None = None
        self._arm_watchdog()
        try:
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(self._keep_renewing(), name="lease renewal")
                await led()
                renewing.cancel()
        except ExceptionGroup as errors:
            failure = errors.exceptions[0]
        finally:
            self._disarm_watchdog()
            self._view = replace(self._view, renewed=None)
        if failure is not None:
            raise failure

    async def _keep_renewing(self) -> None:
        started = self._now()
        while self._view.renewed is not None:
            deadline = self._view.renewed + self._timing.renew_deadline
            await self._pause(started, deadline)
            started = self._now()
            await self._attempt(min(started + self._timing.request_timeout, deadline))
            if not self.is_leader:
                raise LeadershipLostError(self._why_lost())
            self._arm_watchdog()

    def _why_lost(self) -> str:
        if not self._view.record.exists:
            return "the Lease was deleted"
        if self.holder != self._identity:
            return f"the Lease is now held by {self.holder or 'nobody'}"
        return f"the Lease could not be renewed for {self._timing.renew_deadline:g} s"

    def _arm_watchdog(self) -> None:
        self._disarm_watchdog()
        renewed = self._view.renewed
        assert renewed is not None
        last_moment = renewed + self._timing.renew_deadline + self._timing.wind_down
        self._watchdog = asyncio.get_running_loop().call_at(last_moment, self._exit)

    def _disarm_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _exit(self) -> None:
        logger.critical("leadership is lost and its work has not ended: the process exits")
        self._exit_process(1)

    # Giving up…

    async def _release(self) -> None:
        if not self._may_hold:
            return
        try:
            async with asyncio.timeout(self._timing.request_timeout):
                record = await self._client.get()
                if record is not None and record.holder == self._identity:
                    await self._client.update(record.released(self._wall_clock()))
                    logger.info("%s gave the Lease up", self._identity)
        except _UNREACHABLE as error:
            logger.warning("the Lease could not be given up and has to expire: %r", error)

    # One try…

    async def _attempt(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._look_and_write()
        except _UNREACHABLE as error:
            self._report(f"the Lease cannot be read or written; trying again: {error!r}")
        else:
            self._report("")

    async def _look_and_write(self) -> None:
        if self._view.renewed is None:
            await self._look()
        try:
            await self._write_if_due()
        except (ConflictError, NotFoundError):
            # Perhaps with a write of our own whose answer was lost: no reason to lose leadership.
            await self._look()
            await self._write_if_due()

    async def _look(self) -> None:
        record = await self._client.get()
        self._view = self._view.seen(record, self._now())

    async def _write_if_due(self) -> None:
        if self._decide() not in (Action.ACQUIRE, Action.RENEW):
            return
        sent = self._now()
        self._may_hold = True
        known = self._view.record
        claim = known.claimed(self._identity, self._timing.lease, self._wall_clock())
        store = self._client.update if known.exists else self._client.create
        self._view = self._view.written(await store(claim), sent, self._now())

    async def _pause(self, started: float, limit: float) -> None:
        """Sleep until one retry after `started`, or until `limit` when that comes first."""
        until = started + self._timing.retry * (1 - 0.3 * self._jitter())
        now = self._now()
        if now < limit < until:
            until = limit
        await asyncio.sleep(until - now)

    def _decide(self) -> Action:
        return decide(self._view, self._identity, self._now(), self._timing)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _report(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            logger.warning("%s", trouble)
        self._trouble = trouble
