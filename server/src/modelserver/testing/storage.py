"""MemoryStorage: a Storage in memory that fails and hangs when it is told to."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from modelserver.core.state import HeldBack
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import FailedPreconditionError, NotFoundError, ServingError
from modelserver.sources.storage.base import Release, nothing_to_release


@dataclass(frozen=True, slots=True)
class Hang:
    """A path that blocks: `entered` is set once somebody is stuck there, set `release` to let all
    go on.
    """

    entered: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class MemoryStorage:
    """A `Storage` whose files are put there by the test. Thread-safe.

    Files have a size and no content: `locate` leads to paths that cannot be opened. Useful for
    whatever lists: `fail` makes a path raise, `hang` makes it block, as a lost network mount does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, FileInfo] = {}
        self._directories: set[str] = set()
        self._failures: dict[str, ServingError] = {}
        self._hangs: dict[str, Hang] = {}
        self._writes = 0
        self.list_calls: dict[str, int] = {}
        """How often each path was listed."""
        self.wanted: dict[str, list[str]] = {}
        """Which versions of each servable `fetch` was last asked for."""
        self.noticing: dict[str, Callable[[], None]] = {}
        """Who wants to hear of changes under each base path."""
        self.holders: dict[str, int] = {}
        """How often each version is held."""
        self._away: dict[str, HeldBack] = {}
        self._on_change: dict[str, Callable[[], None]] = {}

    # Writing…

    def write(self, path: str, size: int = 1, modified: float | None = None) -> None:
        """Create or overwrite a file, and the directories above it."""
        with self._lock:
            self._writes += 1
            self._files[path] = FileInfo(size, str(self._writes), modified)
            self._make_directories(path.rpartition("/")[0])

    def make_directory(self, path: str) -> None:
        """Create an empty directory, and those above it."""
        with self._lock:
            self._make_directories(path)

    def remove(self, path: str) -> None:
        """Delete a file, or a directory with all that is in it."""
        with self._lock:
            below = f"{path}/"
            self._files = {
                p: f for p, f in self._files.items() if p != path and not p.startswith(below)
            }
            self._directories = {
                p for p in self._directories if p != path and not p.startswith(below)
            }

    def fail(self, path: str, error: ServingError | None) -> None:
        """Raise `error` whenever exactly `path` is listed; None ends that."""
        with self._lock:
            self._failures.pop(path, None)
            if error is not None:
                self._failures[path] = error

    def hang(self, path: str) -> Hang:
        """Block whoever lists exactly `path` from now on, until the `Hang` is released. An earlier
        one keeps those whom it has.
        """
        with self._lock:
            self._hangs[path] = Hang()
            return self._hangs[path]

    def keep_away(self, version_path: str, why: HeldBack) -> None:
        """Let a version be somewhere else, with `why` it cannot be loaded yet, until `arrive`."""
        with self._lock:
            self._away[version_path] = why
        self._tell()

    def arrive(self, version_path: str) -> None:
        """Let what was kept away be here."""
        with self._lock:
            del self._away[version_path]
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._on_change.values())
        for listener in listeners:
            listener()

    # Reading, as a Storage…

    def list_versions(self, base_path: str) -> list[str]:
        """Name the directories directly under `base_path`."""
        self._enter(base_path)
        with self._lock:
            below = f"{self._directory(base_path)}/"
            names = (p.removeprefix(below) for p in self._directories if p.startswith(below))
            return [name for name in names if "/" not in name]

    def list_files(self, version_path: str) -> Mapping[str, FileInfo]:
        """Find all files below `version_path`."""
        self._enter(version_path)
        with self._lock:
            below = f"{self._directory(version_path)}/"
            return {p.removeprefix(below): f for p, f in self._files.items() if p.startswith(below)}

    def notice(self, base_path: str, changed: Callable[[], None]) -> Release:
        """Remember who wants to hear of changes."""
        with self._lock:
            self.noticing[base_path] = changed
        return nothing_to_release

    def locate(self, version_path: str, files: Mapping[str, FileInfo]) -> StoragePath:
        """Say that the files are where they are, or where `arrive` will put them."""
        return StoragePath(version_path, files)

    def fetch(
        self, name: str, versions: Sequence[StoragePath], on_change: Callable[[], None]
    ) -> None:
        """Remember what is wanted, and whom to tell of `arrive`."""
        with self._lock:
            self.wanted[name] = [version.path for version in versions]
            self._on_change[name] = on_change

    def awaited(self, version: StoragePath) -> HeldBack | None:
        """Say what `keep_away` said of the version."""
        with self._lock:
            return self._away.get(version.path)

    def hold(self, version: StoragePath) -> Release:
        """Count the holder."""
        with self._lock:
            self.holders[version.path] = self.holders.get(version.path, 0) + 1
        return lambda: self._let_go(version.path)

    def _let_go(self, path: str) -> None:
        with self._lock:
            self.holders[path] -= 1

    def _enter(self, path: str) -> None:
        with self._lock:
            self.list_calls[path] = self.list_calls.get(path, 0) + 1
            hang = self._hangs.get(path)
        if hang is not None:
            hang.entered.set()
            hang.release.wait()
        with self._lock:
            failure = self._failures.get(path)
        if failure is not None:
            raise failure

    def _directory(self, path: str) -> str:
        directory = path.rstrip("/")
        if any(f"{directory}/".startswith(f"{file}/") for file in self._files):
            raise FailedPreconditionError(f"{path}; Not a directory")
        if directory not in self._directories:
            raise NotFoundError(f"{path} not found")
        return directory

    def _make_directories(self, path: str) -> None:
        while path:
            self._directories.add(path)
            path = path.rpartition("/")[0]
