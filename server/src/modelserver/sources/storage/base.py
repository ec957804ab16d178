"""Storage: what a source, and a server that loads, need of the place where exports are kept.

Two ports. A `Storage` is what a source polls and a server loads from. An `ObjectStore` is what must
be copied before it can be loaded; `cached.CachedStorage` makes a `Storage` of it.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from modelserver.core.state import HeldBack
from modelserver.core.storage_path import FileInfo, StoragePath

Release: TypeAlias = Callable[[], None]
"""Lets go of what was held. Called once."""


class CallKind(NamedTuple):
    """What a call to a store was for (`list`, `read`, `metadata`), and what came of it: an HTTP
    status, or a word.
    """

    operation: str
    outcome: str


class Listing(Protocol):
    """Lists version directories and their files. Thread-safe.

    One implementation serves any number of base paths. Paths are absolute, or URIs, with `/`
    between their parts. Calls block for as long as the storage takes. Every failure is one of
    these, with a message that names the path (`P not found`, `P; Permission denied`):

        NotFoundError: the path does not exist.
        FailedPreconditionError: it exists but must not be read (PermissionDeniedError where the
            storage knows who asks, UnauthenticatedError where it does not), or is no directory.
        UnavailableError: the storage does not answer, or answered with an error that may pass.

    `tests/contract/test_storage.py` holds all of them to this text.
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


class ObjectStore(Listing, Protocol):
    """A place whose files are read over a network. Thread-safe."""

    def read(
        self, version_path: str, name: str, info: FileInfo, start: int, stop: int
    ) -> Generator[bytes, None, None]:
        """Yield the bytes from `start` to `stop` (excluded) of the file that was listed as `info`,
        in pieces of a megabyte at most. Close the generator to end early.

        Errors are those of `Listing`, at any piece; NotFoundError also where the file is not the
        one that was listed any more, and UnavailableError where the bytes end too early.
        """

    def counts(self) -> Mapping[CallKind, int]:
        """How many calls there have been so far, by what was asked and what came of it."""


class Storage(Listing, Protocol):
    """A place that versions can be loaded from. Thread-safe.

    `modelserver.testing.storage.MemoryStorage` is the fake.
    """

    def notice(self, base_path: str, changed: Callable[[], None]) -> Release:
        """Call `changed`, from any thread, when something seems to have changed directly under
        `base_path`, until that is released.

        A hint to look sooner, from storages that hear of changes; the others never call. Never
        raises, but may block as a listing does.
        """

    def locate(self, version_path: str, files: Mapping[str, FileInfo]) -> StoragePath:
        """Say where the `files` that `list_files` saw are, or will be once they are fetched, and
        how to read single ones before. No I/O. The answer carries `files`.
        """

    def fetch(
        self, name: str, versions: Sequence[StoragePath], on_change: Callable[[], None]
    ) -> None:
        """Have exactly these `versions` of servable `name` here, in the background. Returns soon.

        States the complete set each time, and may repeat itself: what is left out is no longer
        fetched, and no longer kept. `on_change` is called, from any thread, whenever one of them
        has arrived or has failed to.
        """

    def awaited(self, version: StoragePath) -> HeldBack | None:
        """Say what a version still waits for before it can be loaded: None if it is here."""

    def hold(self, version: StoragePath) -> Release:
        """Have the version here for as long as it is held, whoever else lets go of it.

        Fetches it first if it must, which may take minutes: that is for threads that load. Raises
        a `ServingError` where that fails.
        """


def nothing_to_release() -> None:
    """The `Release` of what needs none."""
