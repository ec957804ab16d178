"""Inventory: which version of which object has been noticed, by a watch or by a list.

Watches deliver at once, lists are complete. Comparing both tells what a watch has swallowed, and so
which watch is dead though its connection is not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from modelserver_operator.api import KIND
from modelserver_operator.cluster.resources import MODEL_SERVER, Resource
from modelserver_operator.desired.labels import NAME_LABEL
from modelserver_operator.json_types import JsonObject
from modelserver_operator.work_queue import Key

_GRACE_SECONDS = 5.0


class Stream(NamedTuple):
    """One watch: a kind, in one namespace or in all of them (None)."""

    resource: Resource
    namespace: str | None


class _ObjectId(NamedTuple):
    namespace: str
    name: str


class _Sighting(NamedTuple):
    uid: str
    version: str
    owner: Key | None


@dataclass(frozen=True, slots=True)
class _Late:
    """A change that a list has shown at `noticed`, and no watch so far; version "" = deleted."""

    noticed: float


class Inventory:
    """What is known of one stream. Times are seconds on any one scale. Pure: has no clock."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.heard_at: float | None = None
        self.listed_at: float | None = None
        self.deaf_since: float | None = None
        self._seen: dict[_ObjectId, _Sighting] = {}
        self._late: dict[_ObjectId, _Late] = {}
        self._deleted: set[str] = set()

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def owners(self) -> set[Key]:
        """Every ModelServer that one of the objects is of."""
        return {seen.owner for seen in self._seen.values() if seen.owner is not None}

    def delivered(self, metadata: JsonObject, now: float, *, deleted: bool) -> Key | None:
        """Note what the watch delivered; returns which ModelServer it is about, if any."""
        self.heard_at, self.deaf_since = now, None
        identity, sighting = _read(self.stream.resource, metadata)
        self._late.pop(identity, None)
        known = self._seen.pop(identity, None)
        if deleted:
            self._deleted.add(sighting.uid)
        else:
            self._seen[identity] = sighting
        return sighting.owner or (known.owner if known is not None else None)

    def before_listing(self) -> frozenset[_ObjectId]:
        """What to hand to `compare`: what was known when the list was asked for."""
        self._deleted.clear()
        return frozenset(self._seen)

    def compare(
        self, before: frozenset[_ObjectId], listed: Iterable[JsonObject], now: float
    ) -> set[Key]:
        """Note what a complete list shows; returns the ModelServers about which it is news."""
        self.listed_at = now
        current = dict(_read(self.stream.resource, metadata) for metadata in listed)
        news = {
            identity: sighting
            for identity, sighting in current.items()
            # A list may be older than a deletion that was delivered while it was read.
            if sighting.uid not in self._deleted and _is_news(self._seen.get(identity), sighting)
        }
        vanished = {
            identity: self._seen.pop(identity)
            for identity in before - current.keys()
            if identity in self._seen
        }
        self._seen.update(news)
        for identity in (*news, *vanished):
            self._late[identity] = _Late(now)
        return {item.owner for item in (*news.values(), *vanished.values()) if item.owner}

    def swallowed(self, now: float) -> int:
        """Count the changes that a list has shown some time ago and that the watch has still not
        delivered, each once. From the first of them on the watch counts as deaf, until it delivers
        something.
        """
        overdue = [
            identity
            for identity, late in self._late.items()
            if late.noticed <= now - _GRACE_SECONDS
        ]
        for identity in overdue:
            del self._late[identity]
        if overdue and self.deaf_since is None:
            self.deaf_since = now
        return len(overdue)


def _read(resource: Resource, metadata: JsonObject) -> tuple[_ObjectId, _Sighting]:
    identity = _ObjectId(metadata.get("namespace", ""), metadata["name"])
    version = metadata.get("resourceVersion", "")
    return identity, _Sighting(metadata.get("uid", ""), version, _owner(resource, metadata))


def _owner(resource: Resource, metadata: JsonObject) -> Key | None:
    namespace = metadata.get("namespace", "")
    if resource == MODEL_SERVER:
        return Key(namespace, metadata["name"])
    name = (metadata.get("labels") or {}).get(NAME_LABEL) or _owning_server(metadata)
    return Key(namespace, name) if name else None


def _owning_server(metadata: JsonObject) -> str:
    owners: Iterable[Mapping[str, str]] = metadata.get("ownerReferences") or ()
    return next((owner["name"] for owner in owners if owner.get("kind") == KIND), "")


def _is_news(known: _Sighting | None, listed: _Sighting) -> bool:
    if known is None or known.uid != listed.uid:
        return True
    # A watch may be ahead of a list that was read before it.
    if known.version.isdigit() and listed.version.isdigit():
        return int(listed.version) > int(known.version)
    return listed.version != known.version
