"""What is asked of Cloud Storage's JSON API, as values; and the record of what was."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

Kind = Literal["list", "read", "metadata", "upload", "delete", "other"]
_OBJECT_KINDS: Mapping[str, Kind] = {"GET": "metadata", "HEAD": "metadata", "DELETE": "delete"}


@dataclass(frozen=True)
class GcsRequest:
    """One request, and what has become of it so far."""

    kind: Kind
    bucket: str = ""
    name: str = ""
    """The object; of a list its prefix. Empty where neither is in the URL."""
    byte_range: tuple[int, int | None] | None = None
    """The first and last byte asked for; last is None for all that follows. A suffix of N bytes is
    (-N, None)."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The URL's, such as `generation` and `ifGenerationMatch`."""
    status: int | None = None
    """None as long as there is no answer, and if there never was one."""
    sent: int = 0
    """Bytes of the answer's body that were sent."""


def parse_request(method: str, target: str, range_header: str | None = None) -> GcsRequest:
    """Tell what a request line and a Range header ask for. Knows no bad requests: those are
    "other".
    """
    url = urlsplit(target)
    parameters = dict(parse_qsl(url.query, keep_blank_values=True))
    bucket, is_collection, name = _addressed(url.path)
    kind = _kind(method, url.path, is_collection, name, parameters)
    if not name:
        name = parameters.get({"list": "prefix", "upload": "name"}.get(kind, ""), "")
    return GcsRequest(kind, bucket, name, _parse_range(range_header), parameters)


def _addressed(path: str) -> tuple[str, bool, str]:
    """The bucket, whether the path is of its objects or one of them, and which."""
    words = path.split("/storage/v1/b/", 1)[-1].split("/") if "/storage/v1/b/" in path else [""]
    name = "/".join(words[2:]) if words[1:2] == ["o"] else ""
    return unquote(words[0]), words[1:2] == ["o"], unquote(name)


def _kind(
    method: str, path: str, is_of_objects: bool, name: str, parameters: Mapping[str, str]
) -> Kind:
    if path.startswith("/upload/"):
        return "upload"
    if not is_of_objects:
        return "other"
    if not name:
        return "list" if method in ("GET", "HEAD") else "other"
    if method == "GET" and (path.startswith("/download/") or parameters.get("alt") == "media"):
        return "read"
    return _OBJECT_KINDS.get(method, "other")


def _parse_range(header: str | None) -> tuple[int, int | None] | None:
    first, dash, last = (header or "").removeprefix("bytes=").strip().partition("-")
    if not dash or not (first + last).isdecimal():
        return None
    if not first:
        return -int(last), None
    return int(first), int(last) if last else None


class RequestRecord:
    """The requests in the order of their arrival. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[int, GcsRequest] = {}
        self._arrived = 0

    def add(self, request: GcsRequest) -> int:
        """Record what has arrived; return the number that it has from now on."""
        with self._lock:
            self._arrived += 1
            self._requests[self._arrived] = request
            return self._arrived

    def answered(self, number: int, status: int) -> None:
        with self._lock:
            if number in self._requests:
                self._requests[number] = replace(self._requests[number], status=status)

    def sending(self, number: int, count: int) -> None:
        """So many more bytes of the body are about to be sent: whoever has received them finds
        them recorded.
        """
        with self._lock:
            if number in self._requests:
                request = self._requests[number]
                self._requests[number] = replace(request, sent=request.sent + count)

    def requests(self) -> list[GcsRequest]:
        with self._lock:
            return list(self._requests.values())

    def clear(self) -> None:
        """Forget all, and what will become of those that are not answered yet."""
        with self._lock:
            self._requests.clear()
