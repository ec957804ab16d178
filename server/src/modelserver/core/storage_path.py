"""StoragePath: where a version's files are, and what was seen there. Sources emit it; platforms
load from it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

_MAX_NAME_LENGTH = 200


def printable(name: str) -> str:
    """A file's name, which may have any characters, for a message of one line."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
    return text if len(text) <= _MAX_NAME_LENGTH else f"{text[: _MAX_NAME_LENGTH - 1]}…"


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file of a version as a listing saw it: `size` in bytes; `tag` changes whenever the
    content may have (mtime, generation).

    `modified` is when the content last changed, in seconds since the epoch, or None where files
    appear whole or not at all (object stores). `digest` names the content, wherever it is: two
    files of one digest are equal; `crc32c` is the checksum to verify it by. Both are as the storage
    states them, and empty and None where it does not.
    """

    size: int
    tag: str = ""
    modified: float | None = None
    digest: str = ""
    crc32c: int | None = None


@dataclass(frozen=True, slots=True)
class StoragePath:
    """A version directory that can be opened with ordinary file operations at `path`, once it is
    loaded.

    `files` maps each file's path relative to the directory (with `/`) to what the listing saw. It
    may be empty when a source did not list. `uri` is where the version comes from, if that is
    elsewhere: then `path` need not exist before the version is loaded, and `open` reads single
    files from afar until then.
    """

    path: str
    files: Mapping[str, FileInfo] = field(default_factory=dict, hash=False)
    uri: str = ""
    opener: Callable[[str], BinaryIO] | None = field(default=None, compare=False, repr=False)

    @property
    def place(self) -> str:
        """Where the version is, for people."""
        return self.uri or self.path

    def open(self, name: str) -> BinaryIO:
        """Open the file `name`, a path relative to the directory, for reading at any position.

        Raises OSError or a `ServingError` where that does not succeed.
        """
        if self.opener is not None:
            return self.opener(name)
        return open(os.path.join(self.path, name), "rb")

    def folder(self, name: str) -> "StoragePath":
        """The folder `name` of this version as a place of its own, for what is made of parts."""
        prefix = f"{name}/"
        return StoragePath(
            os.path.join(self.path, name),
            {k.removeprefix(prefix): v for k, v in self.files.items() if k.startswith(prefix)},
            f"{self.uri}/{name}" if self.uri else "",
            None if self.opener is None else lambda file: self.open(f"{prefix}{file}"),
        )
