"""FsspecStore: exports in any store that fsspec has an implementation for. An optional extra; the
only importer of fsspec.
"""

import re
import threading
from collections import Counter
from collections.abc import Generator, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from modelserver.core.storage_path import FileInfo
from modelserver.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from modelserver.sources.storage.base import CallKind
from modelserver.sources.storage.fsspec_errors import S3, error_of, outcome_of
from modelserver.sources.storage.object_paths import is_placeholder

_PIECE_BYTES = 1 << 20
_REQUEST_BYTES = 4 << 20
"""How much is asked for at a time, and held: fsspec gives an answer as a whole only."""

_INSTEAD = {
    "file": "give the path of the directory without file://",
    "local": "give the path of the directory without local://",
    "gcs": "write gs://BUCKET/PATH",
    "http": "directories cannot be listed over HTTP; copy the versions to a bucket or a mount",
    "https": "directories cannot be listed over HTTP; copy the versions to a bucket or a mount",
}
"""What fsspec knows and this is not for, with what to do."""

_ETAGS = ("ETag", "etag", "e_tag", "checksum", "sha", "blob_id")
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "modify", "updated", "created")
"""What implementations call what they state about a file's content, the most telling first."""

_UNSTATED = (None, "")


def make_fsspec_store(scheme: str) -> "FsspecStore":
    """Make the store for `scheme`.

    Raises:
        UnimplementedError: there is none, or what it needs is not installed.

    """
    if scheme in _INSTEAD:
        raise UnimplementedError(f"{scheme}:// is not supported: {_INSTEAD[scheme]}")
    return FsspecStore(scheme, _implementation(scheme))


class FsspecStore:
    """An `ObjectStore` over `implementation`, fsspec's class for `scheme`. Thread-safe.

    Its options come from the URI (a host, a user) and from fsspec's configuration (FSSPEC_…), its
    credentials from where it looks for them itself: at the first call and, until there are some
    that are accepted, at each. Nothing is cached, and nothing is known of checksums: a file is
    pinned by its ETag, or by the time of its change, which is compared after each range is read.
    """

    def __init__(self, scheme: str, implementation: type[Any]) -> None:
        self._scheme = scheme
        self._implementation = implementation
        self._shared: dict[Hashable, Any] = {}
        self._of_thread = threading.local()
        self._counting = threading.Lock()
        self._counts: Counter[CallKind] = Counter()

    def list_versions(self, base_path: str) -> list[str]:
        """Name the directories directly under `base_path`: one listing."""
        root = self._path_of(base_path)
        entries = self._list(base_path, root)
        if [entry["name"] for entry in entries if entry["type"] == "file"] == [root]:
            raise FailedPreconditionError(f"{base_path}; Not a directory")
        names = {entry["name"].rstrip("/") for entry in entries if entry["type"] != "file"}
        return [name.rpartition("/")[2] for name in names - {root}]

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all files below `version_path`: one listing where the implementation can do without
        its folders, as that for S3 can, else one for each. A file's tag is its ETag and the time of
        its change.
        """
        root = self._path_of(version_path)
        entries = (
            self._walk(version_path, root) if self._walks() else self._find(version_path, root)
        )
        if root in entries:
            raise FailedPreconditionError(f"{version_path}; Not a directory")
        uri = version_path.rstrip("/")
        names = {path: path.removeprefix(f"{root}/") for path in entries}
        return {
            names[path]: self._file_info(f"{uri}/{names[path]}", entry)
            for path, entry in entries.items()
            if not is_placeholder(path)
        }

    def read(
        self, version_path: str, name: str, info: FileInfo, start: int, stop: int
    ) -> Generator[bytes, None, None]:
        """Yield a range. The last of it is only yielded once the file has turned out to be still
        the one that was listed.
        """
        uri = f"{version_path.rstrip('/')}/{name}"
        path = f"{self._path_of(version_path)}/{name}"
        for begin in range(start, stop, _REQUEST_BYTES):
            end = min(begin + _REQUEST_BYTES, stop)
            data = self._call(uri, "read", "cat_file", path, start=begin, end=end)
            is_whole = len(data) == end - begin
            if end == stop or not is_whole:
                self._check_is_same(uri, path, info)
            if not is_whole:
                raise UnavailableError(
                    f"{uri}: {len(data)} bytes came for those from {begin} to {end}"
                )
            for offset in range(0, len(data), _PIECE_BYTES):
                yield data[offset : offset + _PIECE_BYTES]

    def counts(self) -> Mapping[CallKind, int]:
        """How many calls there have been: `list`, `metadata`, `read`, by HTTP status or a word.

        Calls of fsspec, that is: a listing of many pages counts as one.
        """
        with self._counting:
            return dict(self._counts)

    # What is there…

    def _list(self, uri: str, root: str) -> list[Mapping[str, Any]]:
        """What is directly under `root`; it is told from a place that cannot be."""
        try:
            return list(self._call(uri, "list", "ls", root, detail=True))
        except NotFoundError:
            self._check_leads_through_no_file(uri, root)
            raise

    def _walk(self, uri: str, root: str) -> dict[str, Mapping[str, Any]]:
        """All files below `root`, folder by folder.

        Not by fsspec's own walk, which passes over the folders that cannot be listed.
        """
        found: dict[str, Mapping[str, Any]] = {}
        left, seen = self._list(uri, root), {root}
        while left:
            entry = left.pop()
            name = entry["name"].rstrip("/")
            if entry["type"] != "directory":
                found[entry["name"]] = entry
            elif name not in seen:
                seen.add(name)
                with suppress(NotFoundError):  # it has vanished since
                    left += self._call(uri, "list", "ls", name, detail=True)
        return found

    def _find(self, uri: str, root: str) -> Mapping[str, Mapping[str, Any]]:
        """All files below `root`, in one go."""
        found: Mapping[str, Mapping[str, Any]] = self._call(uri, "list", "find", root, detail=True)
        if not found:
            self._check_exists(uri, root)
        return found

    def _walks(self) -> bool:
        """Whether `find` is fsspec's own, which lists folder by folder."""
        from fsspec.asyn import AsyncFileSystem
        from fsspec.spec import AbstractFileSystem

        if issubclass(self._implementation, AsyncFileSystem):
            return bool(self._implementation._find is AsyncFileSystem._find)
        return bool(self._implementation.find is AbstractFileSystem.find)

    def _check_exists(self, uri: str, root: str) -> None:
        """Tell a place that is missing from an empty one."""
        try:
            self._call(uri, "metadata", "info", root)
        except NotFoundError:
            self._check_leads_through_no_file(uri, root)
            raise

    def _check_leads_through_no_file(self, uri: str, root: str) -> None:
        """Tell a missing place from one that cannot be because there is a file above it."""
        while (root := root.rpartition("/")[0].rstrip("/")) != "":
            try:
                above = self._call(uri, "metadata", "info", root)
            except NotFoundError:
                continue
            except ServingError:  # what is above may be out of bounds; that it is missing, is known
                return
            if above["type"] == "file":
                raise FailedPreconditionError(f"{uri}; Not a directory")
            return

    def _check_is_same(self, uri: str, path: str, info: FileInfo) -> None:
        now = self._call(uri, "metadata", "info", path)
        if _pin(_tag(now)) != _pin(info.tag):
            raise NotFoundError(f"{uri} was replaced since it was listed")

    def _file_info(self, uri: str, entry: Mapping[str, Any]) -> FileInfo:
        if entry["type"] != "file":
            raise FailedPreconditionError(f"{uri} is a {entry['type']}: put a file in its place")
        size, tag = entry.get("size"), _tag(entry)
        if size is None or not tag:
            raise FailedPreconditionError(
                f"{uri} cannot be used: {self._scheme}:// states no "
                f"{'size' if size is None else 'time of change'} of it, so that changes would go "
                "unnoticed; copy the versions to another store"
            )
        return FileInfo(int(size), tag, None, _digest(entry) if self._scheme in S3 else "")

    # Calling…

    def _call(self, uri: str, operation: str, method: str, *args: Any, **options: Any) -> Any:
        with self._errors_of(uri, operation):
            return getattr(self._file_system(uri), method)(*args, **options)

    @contextmanager
    def _errors_of(self, uri: str, operation: str) -> Iterator[None]:
        """Count a call, and let it fail in our words."""
        try:
            yield
        except Exception as error:
            meaning = error_of(error, uri, self._scheme)
            self._count(operation, outcome_of(error, meaning))
            if isinstance(meaning, UnauthenticatedError):
                self._forget_file_system(uri)
            raise meaning from error
        self._count(operation, "ok")

    def _count(self, operation: str, outcome: str) -> None:
        with self._counting:
            self._counts[CallKind(operation, outcome)] += 1

    # The implementation…

    def _path_of(self, uri: str) -> str:
        path: str = self._implementation._strip_protocol(uri).rstrip("/")
        if self._scheme in S3 and not path:
            raise InvalidArgumentError(f"{uri} names no bucket: write {self._scheme}://BUCKET/PATH")
        return path

    def _file_system(self, uri: str) -> Any:
        made, key = self._instances(), self._key(uri)
        if key not in made:
            # Not from fsspec's own cache: that keeps one for each thread that ever was.
            new = self._implementation(
                **dict(key), skip_instance_cache=True, use_listings_cache=False
            )
            return made.setdefault(key, new)
        return made[key]

    def _forget_file_system(self, uri: str) -> None:
        """Look for credentials anew: a key may have been mounted, or exchanged."""
        self._instances().pop(self._key(uri), None)

    def _instances(self) -> dict[Hashable, Any]:
        """Those that this thread may use: what is not asynchronous has connections for one."""
        if self._implementation.async_impl:
            return self._shared
        made: dict[Hashable, Any] = vars(self._of_thread).setdefault("made", {})
        return made

    def _key(self, uri: str) -> tuple[tuple[str, Any], ...]:
        return tuple(sorted(self._implementation._get_kwargs_from_urls(uri).items()))


def _implementation(scheme: str) -> type[Any]:
    try:
        import fsspec
    except ImportError as error:
        raise UnimplementedError(_what_to_install(scheme, "")) from error
    try:
        implementation: type[Any] = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise UnimplementedError(_what_to_install(scheme, str(error))) from error
    except ValueError as error:
        raise UnimplementedError(
            f"{scheme}:// is not supported: fsspec does not know it"
        ) from error
    return implementation


def _what_to_install(scheme: str, advice: str) -> str:
    """`advice` is what fsspec says, empty where fsspec itself is missing."""
    if scheme in S3:
        return f"{scheme}:// needs the optional extra: pip install 'modelserver[s3]'"
    if not advice:
        return (
            f"{scheme}:// needs the optional extra: pip install 'modelserver[fsspec]', and the "
            f"package with fsspec's implementation for {scheme}://"
        )
    return f"{scheme}:// needs an implementation that is not installed: {advice}"


def _tag(entry: Mapping[str, Any]) -> str:
    """What changes with a file's content, as far as it is stated: `ETAG TIME`, or one of them."""
    etag = next(
        (str(entry[key]).strip('"') for key in _ETAGS if entry.get(key) not in _UNSTATED), ""
    )
    time = next((entry[key] for key in _TIMES if entry.get(key) not in _UNSTATED), "")
    if isinstance(time, datetime):
        time = time.timestamp()
    return " ".join([*etag.split(), *str(time).split()])


def _pin(tag: str) -> str:
    """The part of a tag by which to tell whether the content is the same.

    Without the time where there is an ETag: services round it in one answer and not in another.
    """
    return tag.partition(" ")[0]


def _digest(entry: Mapping[str, Any]) -> str:
    """The content's name where its ETag is one; that of an upload in parts (`…-4`) is not."""
    etag = str(entry.get("ETag", "")).strip('"')
    return f"md5:{etag}" if re.fullmatch("[0-9a-f]{32}", etag) else ""
