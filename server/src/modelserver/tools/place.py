"""Where a tool looks, and as what: the same flags, storages and checks as the server's."""

import os
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from modelserver.command_line import CommandLine, add_boolean
from modelserver.platforms import make_platforms
from modelserver.ready_marker import missing_files_of
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.storage.router import StorageRouter, is_mounted
from modelserver.sources.storage.stores import default_cache_directory, make_store
from modelserver.tools.survey import Survey

_PLATFORM = "tensorflow"


def add_place_flags(parser: CommandLine) -> None:
    """Add where to look, and as what."""
    parser.add_argument(
        "--platform",
        default=_PLATFORM,
        help="what the versions are: it says when one is complete (default: %(default)s)",
    )
    parser.add_argument(
        "--ready_marker",
        default="",
        metavar="NAME",
        help="the file without which a version does not count, where the server has a readyMarker",
    )
    add_boolean(
        parser,
        "gcs_anonymous",
        default=os.environ.get("MODELSERVER_GCS_ANONYMOUS", "").lower() in ("true", "1"),
        help="read gs:// without credentials, as public buckets allow (default: as the variable "
        "MODELSERVER_GCS_ANONYMOUS says)",
    )


def parse_place(parser: CommandLine, argv: Sequence[str]) -> Namespace:
    """Parse a command line with `add_place_flags`, and make its `uri` an absolute path or a URI."""
    # Or else argparse would take the argument after it for its value.
    spelled_out = ["--gcs_anonymous=true" if word == "--gcs_anonymous" else word for word in argv]
    flags = parser.parse_args(spelled_out)
    flags.uri = _absolute(flags.uri)
    return flags


def make_storage(flags: Namespace, cache_directory: str = "") -> StorageRouter:
    """Make the storage that the server would have with these flags."""
    named = cache_directory or os.environ.get("MODELSERVER_CACHE_DIR", "")
    root = Path(named) if named else default_cache_directory()
    return StorageRouter(VersionCache(root), partial(make_store, gcs_anonymous=flags.gcs_anonymous))


def make_survey(flags: Namespace, storage: StorageRouter) -> Survey:
    """Make what looks at versions as the server would with these flags.

    Raises:
        InvalidArgumentError: there is no such platform.
        FailedPreconditionError: it cannot be made.

    """
    platform = make_platforms([flags.platform], {})[flags.platform]
    return Survey(storage, missing_files_of(platform, flags.ready_marker))


def _absolute(uri: str) -> str:
    if is_mounted(uri):
        return os.path.abspath(uri)
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rstrip('/')}"
