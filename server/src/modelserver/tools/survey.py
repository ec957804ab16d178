"""Survey: what is under a base path, seen through the eyes of the server."""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import as_serving_error
from modelserver.sources.storage.base import Storage
from modelserver.sources.versions import index_children, parse_version

_AT_A_TIME = 8
_MAX_NAMES = 5


class Condition(enum.StrEnum):
    """What the server would make of a version."""

    COMPLETE = enum.auto()
    """It could be loaded."""
    INCOMPLETE = enum.auto()
    """It waits for what is missing."""
    UNREADABLE = enum.auto()
    """It cannot be looked at."""


@dataclass(frozen=True, slots=True)
class FoundVersion:
    """A version at `uri`. `missing` says what an incomplete one lacks, and why one is unreadable;
    `path` is None where its files could not be listed.
    """

    number: int
    uri: str
    condition: Condition
    path: StoragePath | None = None
    missing: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        """What its directory is called."""
        return self.uri.rpartition("/")[2]

    @property
    def files(self) -> Mapping[str, FileInfo]:
        """Its files, as far as they are known."""
        return self.path.files if self.path else {}

    @property
    def size(self) -> int:
        """How large they are together, in bytes."""
        return sum(info.size for info in self.files.values())

    def lacks(self) -> str:
        """What is missing, in a few words."""
        hidden = len(self.missing) - _MAX_NAMES
        shown = ", ".join(self.missing[:_MAX_NAMES])
        return f"{shown} and {hidden} more" if hidden > 0 else shown


@dataclass(frozen=True, slots=True)
class Children:
    """What is directly under a base path: the names of its `versions`, newest first, and of what is
    `ignored` with the reason.
    """

    versions: Mapping[int, str]
    ignored: Mapping[str, str] = field(default_factory=dict)


def sort_children(names: Sequence[str]) -> Children:
    """Tell versions from other names, and of two names for one version the one that counts."""
    index, _ = index_children(names, {})
    newest_first = {number: index[number] for number in sorted(index, reverse=True)}
    return Children(newest_first, dict(_ignored(sorted(names), index)))


def _ignored(names: Sequence[str], index: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    for name in names:
        number = parse_version(name)
        if number is None:
            yield name, f"{name} is no version: its name is not a number"
        elif index[number] != name:  # in the words in which the server warns of this one
            yield name, " ".join(index_children([name, index[number]], {})[1])


def number_of(uri: str, files: Mapping[str, FileInfo]) -> int | None:
    """Which version the directory at `uri` is, from all `files` below it; None for a base path.

    A version has a number for a name. A base path may have one too: it holds versions and no files.
    """
    number = parse_version(uri.rpartition("/")[2])
    first_parts = [name.partition("/")[0] for name in files]
    has_files = any(name in files for name in first_parts)
    has_versions = any(parse_version(name) is not None for name in first_parts)
    return number if has_files or not has_versions else None


class Survey:
    """Looks at versions in `storage`, of which `missing_files` tells whether they are complete.
    Thread-safe.
    """

    def __init__(self, storage: Storage, missing_files: Callable[[StoragePath], list[str]]) -> None:
        self._storage = storage
        self._missing_files = missing_files

    def children(self, base_path: str) -> Children:
        """List a base path. Raises what the storage does."""
        return sort_children(self._storage.list_versions(base_path))

    def number_of(self, uri: str) -> int | None:
        """Which version `uri` is; None for a base path. Raises what the storage does."""
        if parse_version(uri.rpartition("/")[2]) is None:
            return None
        return number_of(uri, self._storage.list_files(uri))

    def look(self, number: int, uri: str) -> FoundVersion:
        """Look at one version."""
        path = None
        try:
            path = self._storage.locate(uri, self._storage.list_files(uri))
            missing = self._missing_files(path)
        except Exception as error:
            # As in the server, a bad directory or a plug-in's bug is that version's state only.
            why = as_serving_error(error).message or repr(error)
            return FoundVersion(number, uri, Condition.UNREADABLE, path, (why,))
        condition = Condition.INCOMPLETE if missing else Condition.COMPLETE
        return FoundVersion(number, uri, condition, path, tuple(missing))

    def look_at_all(self, base_path: str, children: Children) -> tuple[FoundVersion, ...]:
        """Look at every version, several at a time: each takes a few calls to a bucket."""
        uris = [f"{base_path.rstrip('/')}/{name}" for name in children.versions.values()]
        with ThreadPoolExecutor(_AT_A_TIME, "survey") as pool:
            return tuple(pool.map(self.look, children.versions, uris))

    def newest_complete(self, base_path: str, children: Children) -> Iterator[FoundVersion]:
        """Look at the versions from the newest down, up to and with the first complete one."""
        for number, name in children.versions.items():
            found = self.look(number, f"{base_path.rstrip('/')}/{name}")
            yield found
            if found.condition is Condition.COMPLETE:
                return
