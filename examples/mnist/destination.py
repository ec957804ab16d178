"""Where mnist_export puts versions: a directory or a bucket, in which each appears whole."""

import tempfile
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelserver.errors import FailedPreconditionError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from modelserver.sources.storage.gcs import GcsStore

_SCRATCH_PREFIX = ".mnist_export-"


class Destination(Protocol):
    """A place for numbered versions."""

    def require_free(self, version: int) -> None:
        """Raise `FailedPreconditionError` if that version is there, however its number is spelled;
        another error of modelserver's, or of the operating system, where that cannot be found out.
        """

    def path_of(self, version: int) -> str:
        """Where the version is, or will be."""

    def put(self, version: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill a directory that does not exist yet, and let it be the version."""


def parse_destination(text: str) -> Destination:
    """Read DIR, as an argparse type: a path, or gs://BUCKET/PATH."""
    scheme, separator, path = text.partition("://")
    if not separator:
        return Directory(Path(text))
    if scheme != "gs" or path.startswith("/") or not path:
        raise ArgumentTypeError(f"{text!r} is neither a directory nor gs://BUCKET/PATH")
    # Imported here because it takes a while, which an export to a directory need not wait for.
    from modelserver.sources.storage.gcs import GcsStore

    return Bucket(text.rstrip("/"), GcsStore())


class Directory:
    """A mounted directory, which is made if need be."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def require_free(self, version: int) -> None:
        """Look at the names of its children."""
        self._path.mkdir(parents=True, exist_ok=True)
        _require_free(version, (str(child) for child in self._path.iterdir()))

    def path_of(self, version: int) -> str:
        """The path, the number having eight digits."""
        return str(self._path / _name_of(version))

    def put(self, version: int, write: Callable[[Path], None]) -> None:
        """Rename what was written elsewhere, so no one sees half of it."""
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX, dir=self._path) as scratch:
            unfinished = Path(scratch) / _name_of(version)
            write(unfinished)
            unfinished.rename(self._path / _name_of(version))


class Bucket:
    """A place in Google Cloud Storage, as `store` reaches it."""

    def __init__(self, uri: str, store: "GcsStore") -> None:
        self._uri = uri
        self._store = store

    def require_free(self, version: int) -> None:
        """List what is there."""
        _require_free(version, (f"{self._uri}/{name}" for name in self._versions()))

    def path_of(self, version: int) -> str:
        """The URI, the number having eight digits."""
        return f"{self._uri}/{_name_of(version)}"

    def put(self, version: int, write: Callable[[Path], None]) -> None:
        """Upload what was written to a temporary directory, the graph last: without it a version
        does not count.
        """
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX) as scratch:
            written = Path(scratch) / _name_of(version)
            write(written)
            try:
                self._store.upload_version(written, self.path_of(version))
            except UnavailableError as error:
                raise UnavailableError(
                    f"{error.message}. {self.path_of(version)} is not whole, and no server loads "
                    "it: remove what is there, or choose another --export_version"
                ) from error

    def _versions(self) -> list[str]:
        with suppress(NotFoundError):  # the path, which the first upload makes…
            return self._store.list_versions(self._uri)
        bucket = "/".join(self._uri.split("/")[:3])
        self._store.list_versions(bucket)  # …or its bucket: then this raises
        return []


def _name_of(version: int) -> str:
    return f"{version:08d}"


def _require_free(version: int, places: Iterable[str]) -> None:
    for place in places:
        name = place.rpartition("/")[2]
        if name.isdecimal() and int(name) == version:
            raise FailedPreconditionError(
                f"version {version} exists already: {place}; choose another --export_version"
            )
