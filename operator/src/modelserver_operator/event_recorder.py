"""EventRecorder: writes events to the cluster, each repetition as a count on the same object.

Events are told on a best-effort basis: what cannot be written is logged and dropped, and nobody
waits for it.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from modelserver_operator.api import API_VERSION, KIND, Metadata
from modelserver_operator.cluster.resources import EVENT, Resource
from modelserver_operator.errors import ClusterError, ConflictError, NotFoundError
from modelserver_operator.event_budget import EventBudget
from modelserver_operator.events import EventNote
from modelserver_operator.json_types import JsonObject

logger = logging.getLogger(__name__)

COMPONENT = "modelserver-operator"


class EventStore(Protocol):
    """The part of `Cluster` that events need: they are created and patched, never applied."""

    async def get(self, resource: Resource, namespace: str, name: str) -> JsonObject:
        """See `Cluster`."""

    async def create(self, manifest: JsonObject) -> JsonObject:
        """See `Cluster`."""

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: JsonObject
    ) -> JsonObject:
        """See `Cluster`."""


@dataclass(frozen=True, slots=True)
class EventLimits:
    """`burst` events of one ModelServer at once, then one every `refill_seconds`; of all together,
    how many may wait to be written and how many counts are remembered.
    """

    burst: int = 25
    refill_seconds: float = 60.0
    queued: int = 1000
    remembered: int = 4096


_DEFAULT_LIMITS = EventLimits()


@dataclass(frozen=True, slots=True)
class _Occurrence:
    name: str
    about: Metadata
    note: EventNote
    at: datetime


class EventRecorder:
    """Takes notes and writes them one after the other, in `run`. Belongs to the event loop.

    The name of an event follows from what it says about which object, so a restarted operator, or
    another replica, counts on where the last one stopped.
    """

    def __init__(
        self,
        store: EventStore,
        instance: str,
        *,
        limits: EventLimits = _DEFAULT_LIMITS,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._instance = instance
        self._now = now
        self._limits = limits
        self._budget = EventBudget(limits.burst, limits.refill_seconds, monotonic)
        self._waiting: asyncio.Queue[_Occurrence] = asyncio.Queue(limits.queued)
        self._counts: dict[str, int] = {}

    def record(self, about: Metadata, notes: Iterable[EventNote]) -> None:
        """Have the notes about a ModelServer written. Returns at once, and never fails."""
        for note in notes:
            if not self._budget.take(about.uid):
                logger.warning("%s/%s: too many events, one is dropped: %s", *_words(about, note))
                continue
            occurrence = _Occurrence(event_name(about, note), about, note, self._now())
            try:
                self._waiting.put_nowait(occurrence)
            except asyncio.QueueFull:
                logger.warning(
                    "%s/%s: too many events wait, one is dropped: %s", *_words(about, note)
                )

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        while True:
            occurrence = await self._waiting.get()
            try:
                await self._write(occurrence)
            except ClusterError as error:
                words = _words(occurrence.about, occurrence.note)
                logger.warning("%s/%s: an event could not be written: %s: %s", *words, error)
            finally:
                self._waiting.task_done()

    async def drain(self) -> None:
        """Wait until everything recorded so far is written or dropped; `run` must be running."""
        await self._waiting.join()

    # Writing…

    async def _write(self, occurrence: _Occurrence) -> None:
        count = self._counts.get(occurrence.name)
        if count is None:
            await self._create_or_continue(occurrence)
        else:
            await self._count(occurrence, count + 1)

    async def _create_or_continue(self, occurrence: _Occurrence) -> None:
        try:
            await self._create(occurrence)
        except ConflictError:
            namespace = occurrence.about.namespace
            live = await self._store.get(EVENT, namespace, occurrence.name)
            await self._count(occurrence, (live.get("count") or 0) + 1)

    async def _count(self, occurrence: _Occurrence, count: int) -> None:
        patch = {"count": count, "lastTimestamp": _rfc3339(occurrence.at)}
        namespace = occurrence.about.namespace
        try:
            await self._store.patch(EVENT, namespace, occurrence.name, patch)
        except NotFoundError:
            # The API server forgets events after an hour.
            await self._create(occurrence)
        else:
            self._remember(occurrence.name, count)

    async def _create(self, occurrence: _Occurrence) -> None:
        await self._store.create(_manifest(occurrence, self._instance))
        self._remember(occurrence.name, 1)

    def _remember(self, name: str, count: int) -> None:
        # The longest unused goes first: its event is looked up again if it is needed.
        self._counts.pop(name, None)
        self._counts[name] = count
        if len(self._counts) > self._limits.remembered:
            del self._counts[next(iter(self._counts))]


def event_name(about: Metadata, note: EventNote) -> str:
    """The name of the Event object: the same for the same note about the same object."""
    said = "\n".join((about.uid, note.type, note.reason, note.message))
    return f"{about.name}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _manifest(occurrence: _Occurrence, instance: str) -> JsonObject:
    about, note, at = occurrence.about, occurrence.note, _rfc3339(occurrence.at)
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": occurrence.name, "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
        },
        "type": note.type,
        "reason": str(note.reason),
        "message": note.message,
        "count": 1,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": instance,
    }


def _words(about: Metadata, note: EventNote) -> tuple[str, str, str]:
    return about.namespace, about.name, f"{note.reason}: {note.message}"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
