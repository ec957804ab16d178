"""Paths of object stores, which have names and no directories. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from modelserver.errors import FailedPreconditionError


class ObjectPath(NamedTuple):
    """A place in a bucket: `prefix` is empty or ends with `/`."""

    bucket: str
    prefix: str


def parse_object_uri(uri: str) -> ObjectPath:
    """Take `gs://BUCKET/PATH` apart.

    Raises:
        FailedPreconditionError: it names no bucket.

    """
    bucket, _, path = uri.partition("://")[2].partition("/")
    if not bucket:
        raise FailedPreconditionError(f"{uri} names no bucket: write gs://BUCKET/PATH")
    path = path.strip("/")
    return ObjectPath(bucket, f"{path}/" if path else "")


def child_names(prefix: str, prefixes: Iterable[str]) -> list[str]:
    """The names of the directories directly under `prefix`, from what a listing with the delimiter
    `/` calls prefixes.
    """
    return [found.removeprefix(prefix).rstrip("/") for found in prefixes]


def is_placeholder(name: str) -> bool:
    """Whether an object only stands for a folder, as consoles and some tools make them."""
    return name.endswith("/")


def ancestors(path: ObjectPath) -> Iterator[str]:
    """The names that a file would have for `path` to be, or to go through, a file: the longest
    first.
    """
    parts = path.prefix.split("/")[:-1]
    for length in range(len(parts), 0, -1):
        yield "/".join(parts[:length])
