"""The stores that come with the server, by the scheme of their URIs. Each is imported when it is
first needed: not every server reads from a bucket.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from modelserver.sources.storage.base import ObjectStore


def make_store(scheme: str, *, gcs_anonymous: bool = False) -> ObjectStore:
    """Make the store for `scheme`.

    Raises:
        UnimplementedError: there is none.

    """
    if scheme == "gs":
        from modelserver.sources.storage.gcs import GcsStore

        return GcsStore(is_anonymous=gcs_anonymous)
    from modelserver.sources.storage.fsspec_store import make_fsspec_store

    return make_fsspec_store(scheme)


def default_cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where versions are kept when nobody says: below XDG_CACHE_HOME, or ~/.cache."""
    named = environment.get("XDG_CACHE_HOME")
    base = Path(named) if named else Path(environment.get("HOME", "/tmp")) / ".cache"
    return base / "modelserver" / "versions"
