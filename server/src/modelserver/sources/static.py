"""StaticSource: a set of versions that is known from the start."""

import logging
from collections.abc import Iterable
from typing import Generic, TypeVar

from modelserver.core.servable import ServableData
from modelserver.core.source import Target

_log = logging.getLogger(__name__)

DataT = TypeVar("DataT")


class StaticSource(Generic[DataT]):
    """A `Source` that aspires `versions`, of any number of names, once and for ever. Looks nowhere,
    has no thread: the target is called within `connect`.
    """

    def __init__(self, versions: Iterable[ServableData[DataT]]) -> None:
        self._versions_by_name: dict[str, list[ServableData[DataT]]] = {}
        for version in versions:
            self._versions_by_name.setdefault(version.id.name, []).append(version)

    def set_aspired_versions_callback(self, callback: Target[DataT]) -> None:
        """Emit the list of each name to `callback`."""
        for name, versions in self._versions_by_name.items():
            for version in versions:
                _log.info("Aspiring servable %s", version.id)
            callback(name, versions)
