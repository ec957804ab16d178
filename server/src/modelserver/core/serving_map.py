"""ServingMap: the versions that requests can reach. Read without a lock, replaced whole by the
manager thread.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from modelserver.core.handle import ServableHandle
from modelserver.core.servable import ServableId, ServableRequest
from modelserver.errors import InvalidArgumentError, NotFoundError


class ServingVersion:
    """A loaded version with the count of its handles. Thread-safe.

    The count is the version's own, so a long request delays the unload of its version and nothing
    else.
    """

    __slots__ = ("_handles", "_is_closed", "_lock", "_on_last_release", "id", "servable")

    def __init__(
        self,
        id: ServableId,
        servable: object,
        on_last_release: Callable[[], None],
    ) -> None:
        self.id = id
        self.servable = servable
        self._on_last_release = on_last_release
        self._lock = threading.Lock()
        self._handles = 0
        self._is_closed = False

    def acquire(self) -> ServableHandle[object] | None:
        """Claim the version; None once it is closed."""
        with self._lock:
            if self._is_closed:
                return None
            self._handles += 1
        return ServableHandle(self.id, self.servable, self._release)

    def close(self) -> None:
        """Give out no more handles, and call `on_last_release` once when the last one is back: at
        once if there is none.
        """
        with self._lock:
            self._is_closed = True
            is_last = self._handles == 0
        if is_last:
            self._on_last_release()

    def _release(self) -> None:
        with self._lock:
            self._handles -= 1
            is_last = self._is_closed and self._handles == 0
        if is_last:
            self._on_last_release()


@dataclass(frozen=True, slots=True)
class ServingStream:
    """The available versions of one name, and where its labels point."""

    versions: Mapping[int, ServingVersion]
    labels: Mapping[str, int]
    latest: ServingVersion | None = field(init=False)

    def __post_init__(self) -> None:
        newest = self.versions[max(self.versions)] if self.versions else None
        object.__setattr__(self, "latest", newest)

    def find(self, request: ServableRequest) -> ServingVersion | None:
        """The version that `request` means, None if it is not available.

        Raises:
            InvalidArgumentError: the label is not known.

        """
        if request.version is not None:
            return self.versions.get(request.version)
        if request.label is not None:
            return self._find_labelled(request)
        if request.earliest_available and self.versions:
            return self.versions[min(self.versions)]
        return self.latest

    def _find_labelled(self, request: ServableRequest) -> ServingVersion | None:
        assert request.label is not None
        version = self.labels.get(request.label)
        if version is None:
            raise InvalidArgumentError(f"Unrecognized servable version label: {request.label}")
        return self.versions.get(version)


_EMPTY = ServingStream(MappingProxyType({}), MappingProxyType({}))


def resolve_labels(
    requested: Mapping[str, int], current: Mapping[str, int], available: Mapping[int, object]
) -> dict[str, int]:
    """Decide where each requested label points now: a label moves when its version is available,
    until then it stays.

    A label that points nowhere yet points at the requested version at once, though requests for it
    find nothing. Labels that are not requested any more are gone.
    """
    return {
        label: version if version in available else current.get(label, version)
        for label, version in requested.items()
    }


class ServingMap:
    """Name → ServingStream. What only reads is for any thread; the rest is for the manager thread.

    Copy-on-write: a reader sees one consistent map and takes no lock but the version's own.
    """

    def __init__(self) -> None:
        self._streams: Mapping[str, ServingStream] = {}
        self._requested_labels: dict[str, Mapping[str, int]] = {}

    def acquire(self, request: ServableRequest) -> ServableHandle[object]:
        """Claim what `request` means.

        Raises:
            NotFoundError: nothing available fits.
            InvalidArgumentError: the label is not known.

        """
        while True:
            stream = self._streams.get(request.name, _EMPTY)
            version = stream.find(request)
            if version is None:
                raise NotFoundError(f"Servable not found for request: {request}")
            handle = version.acquire()
            if handle is not None:
                return handle
            # Closed between our look at the map and now: it left the map before it was closed, so
            # look again.

    def ids(self) -> list[ServableId]:
        """Every available version, sorted."""
        return sorted(
            ServableId(name, v) for name, stream in self._streams.items() for v in stream.versions
        )

    def add(self, version: ServingVersion) -> None:
        """Make a version reachable, in the place of one of its number if there is one, and move the
        labels that waited for it.
        """
        versions = dict(self._streams.get(version.id.name, _EMPTY).versions)
        versions[version.id.version] = version
        self._replace(version.id.name, versions)

    def remove(self, version: ServingVersion) -> None:
        """Make a version unreachable, unless another has its place already; it is to be closed."""
        name, number = version.id.name, version.id.version
        versions = dict(self._streams.get(name, _EMPTY).versions)
        if versions.get(number) is version:
            del versions[number]
            self._replace(name, versions)

    def set_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Request the whole set of labels of `name`."""
        self._requested_labels[name] = dict(labels)
        if not labels:
            del self._requested_labels[name]
        self._replace(name, self._streams.get(name, _EMPTY).versions)

    def labels(self, name: str) -> Mapping[str, int]:
        """Where the labels of `name` point at present."""
        return self._streams.get(name, _EMPTY).labels

    def _replace(self, name: str, versions: Mapping[int, ServingVersion]) -> None:
        requested = self._requested_labels.get(name, {})
        labels = resolve_labels(requested, self.labels(name), versions)
        streams = {other: stream for other, stream in self._streams.items() if other != name}
        if versions or labels:
            streams[name] = ServingStream(versions, labels)
        self._streams = streams
