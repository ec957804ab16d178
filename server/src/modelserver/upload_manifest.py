"""The upload manifest: what a version consists of, stated by whoever wrote it.

    {"files": {"saved_model.pb": {"size": 123, "crc32c": "8 hex digits"}, …}}

in `modelserver.manifest.json` of the version's directory. `crc32c` may be left out; keys that are
not known here are ignored. `modelserver manifest` writes it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import InvalidArgumentError
from modelserver.json_object import JsonObject, refusal

MANIFEST = "modelserver.manifest.json"

MAX_BYTES = 4 * 2**20
"""Room for some forty thousand files. It is read at each poll until the version is complete."""
MAX_NAME_LENGTH = 1024

_SIZES = range(2**63)
_CRC32C = re.compile("[0-9a-fA-F]{8}")


@dataclass(frozen=True, slots=True)
class StatedFile:
    """What the manifest says of a file: its size in bytes and, if it does, its CRC32C."""

    size: int
    crc32c: int | None = None


@dataclass(frozen=True, slots=True)
class UploadManifest:
    """The `missing_files` of a model whose versions may have a manifest: one that has lacks what
    the manifest names and the listing does not have, or has otherwise; then `inner`, the platform's
    own check, looks at it too.
    """

    inner: Callable[[StoragePath], list[str]]

    def __call__(self, path: StoragePath) -> list[str]:
        """Say what the version still lacks."""
        if MANIFEST not in path.files:
            return self.inner(path)
        try:
            stated = _read(path)
        except InvalidArgumentError as error:
            return [f"{MANIFEST} (not readable: {error.message})"]
        return list(_lacking(path.files, stated)) or self.inner(path)


def parse_manifest(content: bytes) -> Mapping[str, StatedFile]:
    """Read a manifest: what it says of each file, by path relative to the version.

    Raises:
        InvalidArgumentError: names the place in it, what is expected there and what is there
            instead.

    """
    if len(content) > MAX_BYTES:
        raise InvalidArgumentError(f"it is larger than {MAX_BYTES} bytes")
    try:
        value = json.loads(content)
        json.dumps(value, ensure_ascii=False).encode()  # escaped halves of characters do not travel
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested without end
        raise InvalidArgumentError(f"it is not JSON: {error}") from error
    files = JsonObject.at("", value).child("files")
    if files is None:
        raise refusal("files", "an object", None)
    return {name: _stated(files, name) for name in files.members}


def render_manifest(files: Mapping[str, StatedFile]) -> bytes:
    """Write a manifest down.

    Raises:
        InvalidArgumentError: it could not be read again, because of a name or of its size.

    """
    entries = {name: _rendered(stated) for name, stated in sorted(files.items())}
    content = f"{json.dumps({'files': entries}, indent=1)}\n".encode()
    parse_manifest(content)
    return content


def _read(path: StoragePath) -> Mapping[str, StatedFile]:
    size = path.files[MANIFEST].size
    if size > MAX_BYTES:
        raise InvalidArgumentError(f"it is larger than {MAX_BYTES} bytes")
    with path.open(MANIFEST) as file:
        return parse_manifest(file.read(size))


def _stated(files: JsonObject, name: str) -> StatedFile:
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidArgumentError(f"a name is longer than {MAX_NAME_LENGTH} characters")
    stated = JsonObject.at(files.path_of(name), files.members[name])
    size, crc32c = stated.integer("size", _SIZES), stated.text("crc32c", "")
    if crc32c and not _CRC32C.fullmatch(crc32c):
        raise refusal(stated.path_of("crc32c"), "8 hexadecimal digits", crc32c)
    return StatedFile(size, int(crc32c, 16) if crc32c else None)


def _rendered(stated: StatedFile) -> Mapping[str, object]:
    checksum = {} if stated.crc32c is None else {"crc32c": f"{stated.crc32c:08x}"}
    return {"size": stated.size, **checksum}


def _lacking(files: Mapping[str, FileInfo], stated: Mapping[str, StatedFile]) -> Iterator[str]:
    for name, wanted in stated.items():
        info = files.get(name)
        if info is None:
            yield name
        elif info.size < wanted.size:
            yield f"{name} ({info.size} of {wanted.size} bytes)"
        elif info.size > wanted.size:
            yield f"{name} ({info.size} bytes instead of {wanted.size})"
        elif None not in (info.crc32c, wanted.crc32c) and info.crc32c != wanted.crc32c:
            yield f"{name} (CRC32C {info.crc32c:08x} instead of {wanted.crc32c:08x})"
