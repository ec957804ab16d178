"""Storage: what a source needs to know of the place where exports are kept."""

from collections.abc import Mapping
from typing import Protocol

from modelserver.core.storage_path import FileInfo, StoragePath


class Storage(Protocol):
    """Lists version directories and makes their files locally openable. Thread-safe.

    One implementation serves any number of base paths. Paths are absolute, or URIs, with `/`
    between their parts. Calls block for as long as the storage takes. Every failure is one of
    these, with a message that names the path (`P not found`, `P; Permission denied`):

        NotFoundError: the path does not exist.
        FailedPreconditionError: it exists but must not be read, or is no directory.
        UnavailableError: the storage does not answer, or answered with an error that may pass.

    `modelserver.testing.storage.MemoryStorage` is the fake; `tests/contract/test_storage.py` holds
    all of them to this text.
    """

    def list_versions(self, base_path: str) -> list[str]:
        """Name the directories directly under `base_path`, in any order, whatever they are called.

        Files are left out; links to directories count as directories, and so does what cannot be
        looked at: listing its files will say why. An existing base path without directories gives
        [], a missing one raises: an outage never looks like an empty folder.
        """

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all files below `version_path`, by path relative to it.

        Folders are not listed, links to files and folders are followed. What appears or vanishes
        during the call may or may not be in the answer, and is never an error.
        """

    def fetch(self, version_path: str, files: Mapping[str, FileInfo]) -> StoragePath:
        """Make the `files` that `list_files` saw openable with ordinary file operations, and say
        where.

        Called again at each poll: what is here already under the same tag is not fetched again, and
        an earlier answer stays usable. The answer carries `files`.
        """
