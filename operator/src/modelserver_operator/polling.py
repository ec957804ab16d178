"""PodPoller: keeps the newest report of every pod, and says when one has changed."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from modelserver_operator.admin_client import Admin, Answer, PodUnreachableError
from modelserver_operator.errors import ReportError
from modelserver_operator.observed import PodSnapshot
from modelserver_operator.reports import PodReport, parse_report
from modelserver_operator.work_queue import Key, WorkQueue

logger = logging.getLogger(__name__)

_WORKERS = 256
"""How many pods are asked at the same time: those that do not answer hold up nobody else."""

_ASKED_AGAIN_SECONDS = 1.0
_FAILURES_TO_BE_UNREACHABLE = 2


@dataclass(frozen=True, slots=True)
class PollingStatistics:
    """How many pods are polled, and how many of them did not answer the last time."""

    pods: int
    unreachable: int


@dataclass(slots=True)
class _Target:
    owner: Key
    ip: str
    etag: str = ""
    report: PodReport | None = None
    failures: int = 0
    trouble: str = ""


class PodPoller:
    """Asks every known pod for its report every `poll_seconds` ± 25 %, a new one at once.

    `changed` is called on the event loop with the owner of a pod whose report or reachability has
    changed. A pod that has reported becomes unreachable with the second failure in a row, a second
    apart. An answer that carries another pod's uid counts as none: addresses are reused.
    """

    def __init__(
        self,
        admin: Admin,
        changed: Callable[[Key], None],
        poll_seconds: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._admin = admin
        self._changed = changed
        self._poll_seconds = poll_seconds
        self._chance = chance
        self._targets: dict[str, _Target] = {}
        self._uids: dict[Key, frozenset[str]] = {}
        self._queue: WorkQueue[str] = WorkQueue()

    # What others say…

    def follow(self, owner: Key, pods: Iterable[PodSnapshot]) -> None:
        """Poll these pods of `owner`, and no others of it any more, as soon as they have an
        address. Pods that have ended are left out: their address may be another's by now.
        """
        addresses = {pod.uid: pod.ip for pod in pods if pod.ip and not pod.has_ended}
        for uid in self._uids.get(owner, frozenset()) - addresses.keys():
            self._drop(uid)
        for uid, ip in addresses.items():
            self._add(uid, owner, ip)
        self._uids[owner] = frozenset(addresses)
        if not addresses:
            del self._uids[owner]

    def forget(self, owner: Key) -> None:
        """Poll no pod of `owner` any more."""
        self.follow(owner, ())

    # What there is to see…

    def reports(self, owner: Key) -> Mapping[str, PodReport]:
        """The last report of each pod of `owner` that answers, by uid."""
        found = ((uid, self._targets[uid].report) for uid in self._uids.get(owner, ()))
        return {uid: report for uid, report in found if report is not None}

    def unreachable(self, owner: Key) -> Mapping[str, str]:
        """Why the others of its pods that have been asked do not answer, by uid."""
        found = ((uid, self._targets[uid]) for uid in self._uids.get(owner, ()))
        return {uid: target.trouble for uid, target in found if target.trouble}

    @property
    def statistics(self) -> PollingStatistics:
        """A snapshot."""
        troubled = sum(bool(target.trouble) for target in self._targets.values())
        return PollingStatistics(len(self._targets), troubled)

    # Polling…

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for number in range(_WORKERS):
                workers.create_task(self._work(), name=f"pod poller {number}")

    async def _work(self) -> None:
        while True:
            uid = await self._queue.take()
            try:
                await self._poll(uid)
            finally:
                self._queue.done(uid)

    async def _poll(self, uid: str) -> None:
        target = self._targets.get(uid)
        if target is None:
            return
        try:
            answer = await self._admin.fetch(target.ip, target.etag)
            report = _report(uid, target, answer)
        except (PodUnreachableError, ReportError) as error:
            news = _failed(target, str(error))
        except Exception as error:
            # No pod may end the operator, whatever it answers.
            logger.exception("%s: a bug in asking pod %s", target.owner, target.ip)
            news = _failed(target, f"the operator does not understand it: {error!r}")
        else:
            news = _answered(target, answer, report)
        if self._targets.get(uid) is target:
            self._queue.add(uid, self._pause(target))
            if news:
                self._changed(target.owner)

    def _pause(self, target: _Target) -> float:
        if 0 < target.failures < _FAILURES_TO_BE_UNREACHABLE:
            return _ASKED_AGAIN_SECONDS
        return self._poll_seconds * (0.75 + self._chance() / 2)

    def _add(self, uid: str, owner: Key, ip: str) -> None:
        known = self._targets.get(uid)
        if known is None or known.ip != ip:
            self._targets[uid] = _Target(owner, ip)
            self._queue.add(uid)

    def _drop(self, uid: str) -> None:
        self._targets.pop(uid, None)
        self._queue.forget(uid)


def _report(uid: str, target: _Target, answer: Answer) -> PodReport:
    if answer.body is None:
        if target.report is None:
            raise ReportError("the pod says that nothing has changed, and has never reported")
        return target.report
    report = parse_report(answer.body)
    if report.pod_uid != uid:
        raise ReportError(f"another pod answers at {target.ip}: {report.pod_name}")
    return report


def _answered(target: _Target, answer: Answer, report: PodReport) -> bool:
    """Note it; returns whether that is news."""
    news = report != target.report
    if answer.body is not None:
        target.etag = answer.etag
    target.report, target.failures, target.trouble = report, 0, ""
    return news


def _failed(target: _Target, trouble: str) -> bool:
    """Note it; returns whether that is news."""
    target.failures += 1
    if target.report is not None and target.failures < _FAILURES_TO_BE_UNREACHABLE:
        return False
    news = not target.trouble
    target.report, target.etag, target.trouble = None, "", target.trouble or trouble
    return news
