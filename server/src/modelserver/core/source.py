"""Source, Target and SourceAdapter: how the aspired versions flow from discovery to the manager.

    source ──ServableData[StoragePath]──▶ SourceAdapter ──ServableData[Loader]──▶ manager

A Target is any callable `target(name, versions)`. Each call carries the *complete* list of versions
aspired for that one name: a version left out is asked to be unloaded. Calls are idempotent, and
calls for different names are independent.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from modelserver.core.servable import ServableData, ServableId
from modelserver.errors import as_serving_error

_log = logging.getLogger(__name__)

DataT = TypeVar("DataT")
InT = TypeVar("InT")
OutT = TypeVar("OutT")

Target: TypeAlias = Callable[[str, Sequence[ServableData[DataT]]], None]
"""Receives the complete aspired list of one servable name. Thread-safe; returns without waiting for
any load."""


class Source(Protocol[DataT]):
    """Finds out which versions should be loaded and tells a Target, from a thread of its own.
    Plug-ins implement it.

    It states the whole aspired list of a name each time, not differences, and may repeat itself
    freely. When it cannot find out (an outage, a failed listing) it stays silent: the last list
    stands.
    """

    def set_aspired_versions_callback(self, callback: "Target[DataT]") -> None:
        """Start emitting to `callback`. Called once, by `connect`."""


def connect(source: Source[DataT], target: "Target[DataT]") -> None:
    """Wire `source` to `target`; from here on the source calls the target."""
    source.set_aspired_versions_callback(target)


class SourceAdapter(Generic[InT, OutT]):
    """A Target of one kind of data and a Source of another, around a function.

    `convert(id, data)` returns the data to pass on. It is called from the upstream source's thread,
    must be quick (it builds Loaders, it does not load), and may raise: that version alone goes on
    as an error. Errors from upstream pass through.
    """

    def __init__(self, convert: Callable[[ServableId, InT], OutT]) -> None:
        self._convert = convert
        self._callback: Target[OutT] | None = None

    def set_aspired_versions_callback(self, callback: "Target[OutT]") -> None:
        """Send what comes out to `callback`. Call it before the upstream source starts."""
        self._callback = callback

    def __call__(self, name: str, versions: Sequence[ServableData[InT]]) -> None:
        """Receive the aspired list of `name` from upstream and pass the converted list on."""
        if self._callback is None:
            _log.warning("Dropping versions of %s: this SourceAdapter has no target yet", name)
            return
        self._callback(name, [self._adapt(version) for version in versions])

    def _adapt(self, version: ServableData[InT]) -> ServableData[OutT]:
        from_here = version.revision, version.origin
        if version.error is not None or version.data is None:
            return ServableData(version.id, None, version.error, *from_here)
        try:
            converted = self._convert(version.id, version.data)
            return ServableData(version.id, converted, None, *from_here)
        except Exception as error:  # a plug-in's bug is that version's state, not the source's end
            return ServableData(version.id, None, as_serving_error(error), *from_here)
