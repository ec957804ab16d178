"""How a version is fetched piece by piece. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modelserver.core.storage_path import FileInfo

PART_BYTES = 16 * 2**20
"""Large enough that a request's latency does not count, small enough that little is fetched again
after a crash."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """The bytes from `start` to `stop` (excluded) of the file `name`."""

    name: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def split(files: Mapping[str, FileInfo], part_bytes: int = PART_BYTES) -> list[Part]:
    """Cut the files into parts of at most `part_bytes`, those of the largest file first.

    An empty file has no part.
    """
    largest_first = sorted(files.items(), key=lambda item: (-item[1].size, item[0]))
    return [part for name, info in largest_first for part in _cut(name, info.size, part_bytes)]


def _cut(name: str, size: int, part_bytes: int) -> Iterator[Part]:
    for start in range(0, size, part_bytes):
        yield Part(name, start, min(start + part_bytes, size))
