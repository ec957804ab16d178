"""Platform: the kind of model. One entry in the group `modelserver.platforms` adds one to the
server.
"""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from modelserver.core.loader import Loader
from modelserver.core.servable import ServableId
from modelserver.core.storage_path import FileInfo, StoragePath

Listing: TypeAlias = Mapping[str, FileInfo]
"""The files under one version directory, by path relative to it."""


class Platform(Protocol):
    """Turns a version's directory into a Loader, and tells a complete directory from one still
    being written.

    The entry point names a factory `platform(options: Mapping[str, object]) -> Platform`, called
    once at start-up with the options that the server was given; unknown options are ignored. The
    methods are thread-safe.
    """

    def missing_files(self, path: StoragePath) -> list[str]:
        """Say which files the version still lacks, as paths relative to it with a reason where one
        helps; [] = complete.

        Called at each poll until the version is complete, with a fresh listing in `path.files`. It
        may read small index files. An exception counts as "not complete" with its message.
        """

    def must_settle(self, name: str) -> bool:
        """Whether content does not tell a half-written file `name`, a path relative to the version,
        from a whole one.

        Such a file makes its version wait: if it was written to within the last polling interval,
        it must be found unchanged by one more poll. The safe answer is True; False suits files that
        `missing_files` checks to their end, and those that nobody reads.
        """

    def make_loader(self, id: ServableId, path: StoragePath) -> Loader:
        """Build the Loader of one version, without I/O. Its servable is a `Predictor` where gRPC
        and REST should serve it.
        """
