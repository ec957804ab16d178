"""Polls of one servable, each with what the one before has left; an ear for what sources say."""

import queue
from collections.abc import Collection, Hashable, Mapping, Sequence

import pytest

from modelserver.core.servable import ServableData
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import NotFoundError, ServingError
from modelserver.sources.decision import Decision, PollState, Snapshot, decide
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.versions import Latest, ServableVersionPolicy

PATIENCE_SECONDS = 20


class Polls:
    """A base path, /base, on which a test changes what each poll finds.

    Versions are whole until something is written to them. `away` are those that are not here yet,
    with what they wait for. Time moves on by `pause_seconds` from poll to poll.
    """

    def __init__(self) -> None:
        self.policy: ServableVersionPolicy = Latest()
        self.poll_wait_seconds = 1.0
        self.relist_seconds = 0.0
        self.pause_seconds = 1.0
        """From the next poll to the one after it."""
        self.always_present = True
        self.has_forerunner = False
        self.away: dict[int, HeldBack] = {}
        self.loaded: dict[int, Hashable] = {}
        """The revision that is loaded of each version that is available."""
        self.listed: list[int] = []
        """The versions whose files have been listed, in that order."""
        self.state = PollState()
        self._now = 500.0
        self._files: dict[int, Mapping[str, FileInfo]] = {}
        self._failures: dict[int, ServingError] = {}

    def write(self, version: int, content: str = "", *, name: str = "model") -> None:
        """Let a version consist of one file with that content; without "model" it is not whole."""
        self._files[version] = {name: FileInfo(3, content)}

    def add(self, version: int, name: str) -> None:
        """Let a version have one more file."""
        self._files[version] = {**self._files.get(version, _WHOLE), name: FileInfo(1, "")}

    def fail(self, version: int, error: ServingError | None) -> None:
        """Let the version's files not be listed; None ends that."""
        self._failures.pop(version, None)
        if error is not None:
            self._failures[version] = error

    def load(self, *versions: int) -> None:
        """Let these versions become available with the content that stands."""
        self.loaded |= {version: self.revisions()[version] for version in versions}

    def poll(self, *versions: int) -> Decision:
        """Poll while the directories of exactly these versions are there."""
        servable = MonitoredServable(
            "m",
            "/base",
            lambda path: [] if "model" in path.files else ["model"],
            self.policy,
            self.poll_wait_seconds,
            relist_seconds=self.relist_seconds,
        )
        decision = decide(
            servable, self._see(versions), self.state, versions_always_present=self.always_present
        )
        self.state = decision.state
        self._now += self.pause_seconds
        return decision

    def aspired(self, *versions: int) -> list[int] | None:
        """Poll, and return the versions that are emitted; None if the last list stands."""
        decision = self.poll(*versions)
        return None if decision.aspired is None else [data.id.version for data in decision.aspired]

    def wanted(self, *versions: int) -> list[int]:
        """Poll, and return the versions that have to be here, lowest first."""
        return sorted(_version_of(path.path) for path in self.poll(*versions).wanted)

    def revisions(self) -> dict[int, Hashable]:
        """The revision of each version that stands."""
        return {version: data.revision for version, data in self.state.aspired.items()}

    def _see(self, versions: Collection[int]) -> Snapshot:
        def read_version(directory: str) -> StoragePath:
            version = int(directory)
            self.listed.append(version)
            if version in self._failures:
                raise self._failures[version]
            if version not in versions:
                raise NotFoundError(f"/base/{directory} not found")
            return StoragePath(f"/base/{directory}", self._files.get(version, _WHOLE))

        return Snapshot(
            [str(version) for version in versions],
            read_version,
            self._now,
            1e9 + self._now,
            lambda path: self.away.get(_version_of(path.path)),
            self.loaded.get,
            self.has_forerunner,
        )


_WHOLE = {"model": FileInfo(3, "")}


def _version_of(path: str) -> int:
    return int(path.removeprefix("/base/"))


class Ear:
    """What a source says, in the order in which it says it about each name."""

    def __init__(self) -> None:
        self._aspired: dict[str, queue.Queue[list[int]]] = {}
        self._held_back: dict[str, queue.Queue[Mapping[int, HeldBack]]] = {}

    def receive(self, name: str, versions: Sequence[ServableData[StoragePath]]) -> None:
        self._aspired.setdefault(name, queue.Queue()).put([data.id.version for data in versions])

    def report_held_back(self, name: str, held_back: Mapping[int, HeldBack]) -> None:
        self._held_back.setdefault(name, queue.Queue()).put(held_back)

    def next_aspired(self, name: str) -> list[int]:
        return self._aspired.setdefault(name, queue.Queue()).get(timeout=PATIENCE_SECONDS)

    def next_held_back(self, name: str) -> Mapping[int, HeldBack]:
        return self._held_back.setdefault(name, queue.Queue()).get(timeout=PATIENCE_SECONDS)

    def has_heard_more(self, name: str) -> bool:
        return name in self._aspired and not self._aspired[name].empty()


@pytest.fixture
def polls() -> Polls:
    return Polls()


@pytest.fixture
def ear() -> Ear:
    return Ear()
