"""The address of a version in the cache: a digest of its content. Pure."""

import hashlib
from collections.abc import Mapping

from modelserver.core.storage_path import FileInfo

_HEX_DIGITS = 32


def address_of(uri: str, files: Mapping[str, FileInfo]) -> str:
    """Name the content of the version at `uri` whose listing is `files`.

    Equal names, sizes and digests give the same address, wherever the version is. A file of which
    the storage states no digest counts as itself only: by its place and its tag.
    """
    digest = hashlib.sha256()
    for name, info in sorted(files.items()):
        content = info.digest or f"{uri}/{name}#{info.tag}"
        line = f"{name}\0{info.size}\0{info.crc32c}\0{content}\0"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:_HEX_DIGITS]
