"""MemoryObjectStore: an ObjectStore in memory in which things go wrong when it is told so."""

import base64
import hashlib
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field

from modelserver.core.storage_path import FileInfo
from modelserver.errors import (
    FailedPreconditionError,
    NotFoundError,
    ServingError,
    UnavailableError,
)
from modelserver.sources.cache.checksum import extend
from modelserver.sources.storage.base import CallKind
from modelserver.testing.storage import Hang

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Generated:
    """The content of an object that is too large to be held: `size` bytes, made when they are read.
    Each 8 of them tell where they are.
    """

    size: int

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop` (excluded)."""
        first, last = start // 8, -(-stop // 8)
        words = array("Q", range(first, last)).tobytes()
        return words[start - first * 8 : stop - first * 8]


@dataclass(slots=True)
class Read:
    """One call of `MemoryObjectStore.read`: the object's path, the range that was asked for, and
    how many bytes have been delivered so far.
    """

    path: str
    start: int
    stop: int
    delivered: int = 0


@dataclass(slots=True)
class _Fault:
    """What happens to reads of `path` once they have delivered `after` bytes, `times` times."""

    path: str
    after: int
    happen: Callable[[], None]
    times: float


@dataclass(slots=True)
class _Object:
    content: bytes | Generated
    info: FileInfo
    wrong: dict[int, float] = field(default_factory=dict)
    """Which bytes are delivered wrong, and how many times more."""


class MemoryObjectStore:
    """An `ObjectStore` whose objects are put there by the test. Thread-safe.

    Paths are URIs of any scheme, `mem://BUCKET/NAME`; every bucket exists. Useful for whatever
    copies: `reads` records what was read; `fail`, `cut_short`, `hang`, `replace_during` and
    `corrupt` say what goes wrong when exactly that object is read, `times` times or, with None,
    always.
    """

    def __init__(self) -> None:
        self.reads: list[Read] = []
        """All reads, in the order in which they began."""
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._faults: list[_Fault] = []
        self._hangs: list[Hang] = []
        self._refusals: dict[str, ServingError] = {}
        self._counts: Counter[CallKind] = Counter()
        self._generation = 0

    # Writing…

    def write(self, path: str, content: bytes | Generated = b"x") -> FileInfo:
        """Create or replace an object; returns what a listing says of it. One whose name ends in
        `/` stands for a folder.
        """
        size, digest, crc = _digests(content)
        with self._lock:
            self._generation += 1
            info = FileInfo(size, str(self._generation), None, digest, crc)
            self._objects[path] = _Object(content, info)
        return info

    def remove(self, path: str) -> None:
        """Delete an object, or all below a path."""
        with self._lock:
            self._objects = {
                name: found
                for name, found in self._objects.items()
                if name != path and not name.startswith(f"{path.rstrip('/')}/")
            }

    # …and going wrong.

    def fail_listing(self, path: str, error: ServingError) -> None:
        """Raise `error` whenever exactly `path` is listed."""
        with self._lock:
            self._refusals[path] = error

    def fail(
        self, path: str, error: ServingError, *, after: int = 0, times: int | None = None
    ) -> None:
        """Raise `error` in reads, after so many bytes."""

        def happen() -> None:
            raise error

        self._add(path, after, happen, times)

    def cut_short(self, path: str, *, after: int, times: int | None = 1) -> None:
        """Let reads end after so many bytes of a longer range."""

        def happen() -> None:
            raise UnavailableError(f"{path}: the answer ended too early, after {after} bytes")

        self._add(path, after, happen, times)

    def hang(self, path: str, *, after: int = 0, times: int | None = 1) -> Hang:
        """Block reads after so many bytes, until the `Hang` is released."""
        hang = Hang()

        def happen() -> None:
            hang.entered.set()
            hang.release.wait()

        with self._lock:
            self._hangs.append(hang)
        self._add(path, after, happen, times)
        return hang

    def replace_during(self, path: str, content: bytes, *, after: int = 0) -> None:
        """Let somebody write the object anew while it is read: once, after so many bytes. That read
        goes on with the old content.
        """

        def happen() -> None:
            self.write(path, content)

        self._add(path, after, happen, 1)

    def corrupt(self, path: str, offset: int, *, times: int | None = 1) -> None:
        """Deliver another byte than is there at that offset of the object."""
        with self._lock:
            self._objects[path].wrong[offset] = _times(times)

    def heal(self) -> None:
        """End all that goes wrong, and release all hangs."""
        with self._lock:
            for hang in self._hangs:
                hang.release.set()
            self._hangs.clear()
            self._faults.clear()
            self._refusals.clear()
            for found in self._objects.values():
                found.wrong.clear()

    def _add(self, path: str, after: int, happen: Callable[[], None], times: int | None) -> None:
        with self._lock:
            self._faults.append(_Fault(path, after, happen, _times(times)))

    # Asking…

    def bytes_delivered(self) -> int:
        """How many bytes all reads have delivered so far."""
        with self._lock:
            return sum(read.delivered for read in self.reads)

    def counts(self) -> Mapping[CallKind, int]:
        """How many calls there have been: `list` and `read`, `ok` or the error's name."""
        with self._lock:
            return dict(self._counts)

    # Reading, as an ObjectStore…

    def list_versions(self, base_path: str) -> list[str]:
        """Name the folders directly under `base_path`."""
        names = (name for name in self._list(base_path) if "/" in name)
        return list(dict.fromkeys(name.partition("/")[0] for name in names))

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all objects below `version_path`; an object's tag is the number of the write."""
        files = self._list(version_path).items()
        return {name: info for name, info in files if name and not name.endswith("/")}

    def read(
        self, version_path: str, name: str, info: FileInfo, start: int, stop: int
    ) -> Generator[bytes, None, None]:
        """Yield a range of the object that was listed as `info`, as long as that is the one."""
        path = f"{version_path.rstrip('/')}/{name}"
        read = Read(path, start, stop)
        with self._lock:
            self.reads.append(read)
        if start == stop:
            return
        found = None
        while read.delivered < stop - start:
            try:
                self._meet(path, read.delivered)
                found = found or self._find(path, info)
            except ServingError as error:
                self._count("read", type(error).__name__)
                raise
            yield self._piece(found, read)
        self._count("read", "ok")

    def _list(self, path: str) -> dict[str, FileInfo]:
        try:
            found = self._found_below(path)
        except ServingError as error:
            self._count("list", type(error).__name__)
            raise
        self._count("list", "ok")
        return found

    def _found_below(self, path: str) -> dict[str, FileInfo]:
        folder = path.rstrip("/")
        with self._lock:
            if folder in self._refusals:
                raise self._refusals[folder]
            below = {
                name.removeprefix(f"{folder}/"): found.info
                for name, found in self._objects.items()
                if name.startswith(f"{folder}/")
            }
            if any(place in self._objects for place in _ancestors(folder)):
                raise FailedPreconditionError(f"{path}; Not a directory")
        if not below and "/" in folder.partition("://")[2]:
            raise NotFoundError(f"{path} not found")
        return below

    def _find(self, path: str, info: FileInfo) -> _Object:
        with self._lock:
            found = self._objects.get(path)
        if found is None:
            raise NotFoundError(f"{path} not found")
        if found.info.tag != info.tag:
            raise NotFoundError(f"{path} was replaced since it was listed")
        return found

    def _meet(self, path: str, delivered: int) -> None:
        """Let happen what is due at this point of a read."""
        with self._lock:
            due = [f for f in self._faults if (f.path, f.after) == (path, delivered) and f.times]
            for fault in due:
                fault.times -= 1
        for fault in due:
            fault.happen()

    def _piece(self, found: _Object, read: Read) -> bytes:
        """The next bytes of a read, up to the next point where something happens."""
        start = read.start + read.delivered
        with self._lock:
            points = [f.after for f in self._faults if f.path == read.path and f.times]
            until = min((p for p in points if p > read.delivered), default=read.stop - read.start)
            stop = min(start + _PIECE_BYTES, read.start + until, read.stop)
            data = bytearray(_slice(found.content, start, stop))
            for offset, times in found.wrong.items():
                if start <= offset < stop and times:
                    data[offset - start] ^= 0xFF
                    found.wrong[offset] -= 1
            read.delivered += len(data)
        return bytes(data)

    def _count(self, operation: str, outcome: str) -> None:
        with self._lock:
            self._counts[CallKind(operation, outcome)] += 1


def _times(times: int | None) -> float:
    return float("inf") if times is None else times


def _slice(content: bytes | Generated, start: int, stop: int) -> bytes:
    return content[start:stop] if isinstance(content, bytes) else content.read(start, stop)


def _pieces(content: bytes | Generated) -> Iterator[bytes]:
    size = len(content) if isinstance(content, bytes) else content.size
    for start in range(0, size, _PIECE_BYTES):
        yield _slice(content, start, min(start + _PIECE_BYTES, size))


def _digests(content: bytes | Generated) -> tuple[int, str, int]:
    """The size, MD5 and CRC32C of content."""
    size, digest, crc = 0, hashlib.md5(usedforsecurity=False), 0
    for piece in _pieces(content):
        size, crc = size + len(piece), extend(crc, piece)
        digest.update(piece)
    return size, base64.b64encode(digest.digest()).decode(), crc


def _ancestors(path: str) -> Iterator[str]:
    """The path, and those above it."""
    while not path.endswith(":/"):
        yield path
        path = path.rpartition("/")[0]
