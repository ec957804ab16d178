"""A Lease in memory, and a network to it that does what the test says."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from modelserver_operator.errors import ConflictError, NotFoundError, UnavailableError
from modelserver_operator.lease import LeaseRecord


class FakeLease:
    """One Lease of an API server: what any number of `FakeLeaseClient` read and write."""

    def __init__(self) -> None:
        self.record: LeaseRecord | None = None
        self.writes = 0
        self._version = 0

    def get(self) -> LeaseRecord | None:
        """The Lease now."""
        return self.record

    def create(self, record: LeaseRecord) -> LeaseRecord:
        """Store the first record."""
        if self.record is not None:
            raise ConflictError("the Lease exists already")
        return self._store(record, uid=f"uid-{self._version + 1}")

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Store the record if nothing was stored since it was read."""
        if self.record is None:
            raise NotFoundError("there is no such Lease")
        stored = self.record.metadata
        if record.metadata["resourceVersion"] != stored["resourceVersion"]:
            raise ConflictError("the Lease has been modified")
        return self._store(record, uid=stored["uid"])

    def delete(self) -> None:
        """Let somebody delete it."""
        self.record = None

    def _store(self, record: LeaseRecord, uid: str) -> LeaseRecord:
        self.writes += 1
        self._version += 1
        metadata = {**record.metadata, "resourceVersion": str(self._version), "uid": uid}
        self.record = replace(record, metadata=metadata)
        return self.record


@dataclass(frozen=True, slots=True)
class Hop:
    """What happens to one request. Times in seconds."""

    there: float = 0.01
    """Until the API server does what was asked, whether or not the caller still waits."""
    back: float = 0.01
    """Until the answer arrives."""
    is_refused: bool = False
    """The connection is refused: nothing is asked."""
    is_lost: bool = False
    """The request never arrives, and no answer comes."""
    is_answer_lost: bool = False
    """The request has its effect, and no answer comes."""


class FakeLeaseClient:
    """A `LeaseClient` on a `FakeLease`.

    `hops` say what happens to its requests, one each, in order; later ones just succeed. `unplug`
    is what a black-holed network, or the death of the process, does.
    """

    def __init__(self, lease: FakeLease, hops: Iterable[Hop] = ()) -> None:
        self.requests = 0
        self._lease = lease
        self._hops: Iterator[Hop] = iter(hops)
        self._is_plugged = True

    def unplug(self) -> None:
        """Lose every request and every answer from now on. What is on its way to the API server
        arrives there all the same.
        """
        self._is_plugged = False

    def plug(self) -> None:
        """Let requests through again."""
        self._is_plugged = True

    async def get(self) -> LeaseRecord | None:
        """See `LeaseClient`."""
        return await self._travel(self._lease.get)

    async def create(self, record: LeaseRecord) -> LeaseRecord:
        """See `LeaseClient`."""
        stored = await self._travel(lambda: self._lease.create(record))
        assert stored is not None
        return stored

    async def update(self, record: LeaseRecord) -> LeaseRecord:
        """See `LeaseClient`."""
        stored = await self._travel(lambda: self._lease.update(record))
        assert stored is not None
        return stored

    async def _travel(self, ask: Callable[[], LeaseRecord | None]) -> LeaseRecord | None:
        self.requests += 1
        hop = next(self._hops, Hop())
        if hop.is_refused:
            raise UnavailableError("connection refused")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[LeaseRecord | None] = loop.create_future()
        if self._is_plugged and not hop.is_lost:
            loop.call_later(hop.there, self._arrive, ask, answer, hop)
        return await answer

    def _arrive(
        self,
        ask: Callable[[], LeaseRecord | None],
        answer: "asyncio.Future[LeaseRecord | None]",
        hop: Hop,
    ) -> None:
        try:
            result, error = ask(), None
        except (ConflictError, NotFoundError) as refusal:
            result, error = None, refusal
        if not hop.is_answer_lost:
            asyncio.get_running_loop().call_later(hop.back, self._answer, answer, result, error)

    def _answer(
        self,
        answer: "asyncio.Future[LeaseRecord | None]",
        result: LeaseRecord | None,
        error: ConflictError | NotFoundError | None,
    ) -> None:
        if answer.done() or not self._is_plugged:
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)
