"""StoragePath: where a version's files are, and what was seen there. Sources emit it; platforms
load from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file of a version as a listing saw it: `size` in bytes; `tag` changes whenever the
    content may have (mtime, generation).

    `modified` is when the content last changed, in seconds since the epoch, or None where files
    appear whole or not at all (object stores).
    """

    size: int
    tag: str = ""
    modified: float | None = None


@dataclass(frozen=True, slots=True)
class StoragePath:
    """A version directory that can be opened with ordinary file operations at `path`.

    `files` maps each file's path relative to the directory (with `/`) to what the listing saw. It
    may be empty when a source did not list.
    """

    path: str
    files: Mapping[str, FileInfo] = field(default_factory=dict, hash=False)
