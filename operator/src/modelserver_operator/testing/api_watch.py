"""One open watch of a `FakeApiServer`: which changes it delivers, and how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from modelserver_operator.cluster.resources import Resource
from modelserver_operator.json_types import JsonObject
from modelserver_operator.testing.api_faults import (
    Bookmark,
    End,
    ErrorEvent,
    HalfLine,
    HangUp,
    StreamFault,
    Swallow,
)
from modelserver_operator.testing.fake_cluster import Change, selects


class HungUpError(Exception):
    """The connection is to be cut here."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects a list or a watch is about."""

    resource: Resource
    namespace: str | None
    selector: str
    is_metadata_only: bool

    def includes(self, manifest: JsonObject | None) -> bool:
        """Whether it is about this object, which may not exist."""
        if manifest is None:
            return False
        is_here = self.namespace in (None, manifest["metadata"]["namespace"])
        return is_here and selects(self.selector, manifest)

    def show(self, manifest: JsonObject) -> JsonObject:
        """The object as it was asked for."""
        if not self.is_metadata_only:
            return manifest
        identity = {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata"}
        return identity | {"metadata": manifest["metadata"]}


class ApiWatch:
    """An open watch. Changes and faults take effect in the order in which they arrive."""

    def __init__(self, scope: Scope, version: Callable[[], int]) -> None:
        self.scope = scope
        self._version = version
        self._arrived: asyncio.Queue[bytes | StreamFault] = asyncio.Queue()

    def begin(self, manifests: list[JsonObject], *, with_end: bool) -> None:
        """Deliver the objects that exist already, and a bookmark behind them if that is wanted."""
        for manifest in manifests:
            self._deliver("ADDED", manifest)
        if with_end:
            self._arrived.put_nowait(self._bookmark({"k8s.io/initial-events-end": "true"}))

    def offer(self, change: Change) -> None:
        """Deliver a change, if it is about an object of this watch; one that enters or leaves its
        selection has come into being or ceased to be.
        """
        if change.resource != self.scope.resource:
            return
        was, is_now = self.scope.includes(change.before), self.scope.includes(change.after)
        if is_now and change.after is not None:
            self._deliver("MODIFIED" if was else "ADDED", change.after)
        elif was and change.before is not None:
            version = {"resourceVersion": str(change.version)}
            last = change.before | {"metadata": change.before["metadata"] | version}
            self._deliver("DELETED", last)

    def disturb(self, fault: StreamFault) -> None:
        """Let this happen once what has arrived before is delivered."""
        self._arrived.put_nowait(fault)

    async def lines(self) -> AsyncIterator[bytes]:
        """What goes over the wire, until the watch ends. Raises `HungUpError`."""
        is_mute = False
        while not isinstance(item := await self._arrived.get(), End):
            if isinstance(item, HangUp):
                raise HungUpError
            if isinstance(item, Swallow):
                is_mute = True
            elif not (is_mute and isinstance(item, bytes)):
                yield self._encode(item)
            if isinstance(item, ErrorEvent | HalfLine):
                return

    def _encode(self, item: bytes | Bookmark | ErrorEvent | HalfLine) -> bytes:
        if isinstance(item, bytes):
            return item
        if isinstance(item, ErrorEvent):
            return _line("ERROR", _status(item.code))
        line = self._bookmark({})
        return line if isinstance(item, Bookmark) else line[: len(line) // 2]

    def _deliver(self, kind: str, manifest: JsonObject) -> None:
        self._arrived.put_nowait(_line(kind, self.scope.show(manifest)))

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        resource = self.scope.resource
        metadata = {"resourceVersion": str(self._version()), "annotations": annotations}
        identity = {"apiVersion": resource.api_version, "kind": resource.kind}
        return _line("BOOKMARK", identity | {"metadata": metadata})


def _line(kind: str, manifest: JsonObject) -> bytes:
    return json.dumps({"type": kind, "object": manifest}).encode() + b"\n"


def _status(code: int) -> JsonObject:
    reason = {410: "Expired", 504: "Timeout"}.get(code, "InternalError")
    identity = {"apiVersion": "v1", "kind": "Status", "status": "Failure"}
    return identity | {"code": code, "reason": reason, "message": f"scripted: {reason}"}
