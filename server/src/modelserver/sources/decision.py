"""What one poll of one servable concludes. Pure: a snapshot and the past come in, a Decision comes
out.

The rules, in order:

1. A version counts once it is complete. Until then it is held back: neither aspired nor in the way
   of an older one.
2. A version that has been aspired stays complete, whatever happens to its files, until its
   directory is gone or the policy no longer wants it. It is listed all the same, because other
   content under its number must get another revision; the more files it has, the less often.
3. The policy chooses among the complete versions.
4. An empty choice leaves the last list standing (unless told otherwise): a deleted folder, a volume
   that was not mounted or a typo in a policy does not take a serving model down.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelserver.core.servable import ServableData, ServableId
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import as_serving_error
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.versions import Specific, index_children, select_versions

_MAX_NAMES_IN_MESSAGE = 5
# Keeps what listing a standing version costs below a hundredth of a CPU, however large it is.
_FILES_LISTED_PER_SECOND = 1000
_MAX_SECONDS_UNLISTED = 30


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one poll sees.

    `children` are the names under the base path; `read_version` lists the files of the one so named
    and may raise. `now` is monotonic, in seconds; `wall_time` the epoch time that files' `modified`
    is compared with.
    """

    children: Sequence[str]
    read_version: Callable[[str], StoragePath]
    now: float
    wall_time: float


@dataclass(frozen=True, slots=True)
class Settling:
    """Content that may still be growing: taken for complete if it is the same at time `until`."""

    revision: str
    until: float


@dataclass(frozen=True, slots=True)
class PollState:
    """What the next poll needs to know of the last one: the versions that stand as aspired, by
    number, the names of their directories, when (monotonic) those that keep still were last
    listed, and what was settling.
    """

    aspired: Mapping[int, ServableData[StoragePath]] = field(default_factory=dict)
    directories: Mapping[int, str] = field(default_factory=dict)
    listed: Mapping[int, float] = field(default_factory=dict)
    settling: Mapping[int, Settling] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one poll.

    `aspired` is the complete list to emit, newest first, or None to say nothing: the last list
    stands. `held_back` names every version that the policy wants and that is not complete, with
    what it waits for.
    """

    aspired: tuple[ServableData[StoragePath], ...] | None
    held_back: Mapping[int, str]
    warnings: tuple[str, ...]
    state: PollState


def decide(
    servable: MonitoredServable,
    snapshot: Snapshot,
    previous: PollState,
    *,
    versions_always_present: bool = True,
) -> Decision:
    """Conclude from a poll of `servable` what is to be aspired.

    `versions_always_present` False lets an empty choice through, so that everything is unloaded.
    """
    index, duplicates = index_children(snapshot.children, previous.directories)
    examination = _Examination(servable, snapshot, previous, index)
    chosen = select_versions(servable.version_policy, index, examination.is_complete)
    warnings = [*duplicates, *_absences(servable, index)]
    if not chosen and versions_always_present:
        if previous.aspired:
            warnings.append(f"Refusing to unload all versions for Servable: {servable.name}")
        state = replace(previous, settling=examination.settling)
        return Decision(None, examination.held_back, tuple(warnings), state)
    aspired = {version: examination.complete[version] for version in chosen}
    directories = {version: index[version] for version in chosen}
    state = PollState(aspired, directories, examination.listed, examination.settling)
    return Decision(tuple(aspired.values()), examination.held_back, tuple(warnings), state)


def revision_of(files: Mapping[str, FileInfo]) -> str:
    """Digest a listing: the same for the same names, sizes and tags, in any process."""
    digest = hashlib.blake2b(digest_size=8)
    for name, info in sorted(files.items()):
        digest.update(f"{name}\0{info.size}\0{info.tag}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


class _Examination:
    """Looks at the versions that the policy asks about, each once, and keeps what it found."""

    def __init__(
        self,
        servable: MonitoredServable,
        snapshot: Snapshot,
        previous: PollState,
        index: Mapping[int, str],
    ) -> None:
        self.complete: dict[int, ServableData[StoragePath]] = {}
        self.listed: dict[int, float] = {}
        self.held_back: dict[int, str] = {}
        self.settling: dict[int, Settling] = {}
        self._servable = servable
        self._snapshot = snapshot
        self._previous = previous
        self._index = index

    def is_complete(self, version: int) -> bool:
        """Whether `version` may be aspired; if not, `held_back` says why."""
        standing = self._previous.aspired.get(version)
        if standing is not None:
            self.complete[version] = self._look_again(version, standing)
            return True
        try:
            path = self._snapshot.read_version(self._index[version])
            awaited = self._awaited(version, path)
        except Exception as error:
            # A bad directory or a plug-in's bug is that version's state only.
            self.held_back[version] = as_serving_error(error).message
            return False
        if awaited:
            self.held_back[version] = f"waiting for upload: {_enumerate(awaited)}"
            return False
        self.complete[version] = self._data(version, path)
        return True

    def _data(self, version: int, path: StoragePath) -> ServableData[StoragePath]:
        id_ = ServableId(self._servable.name, version)
        revision = revision_of(path.files)
        return ServableData(id_, path, revision=revision, origin=self._servable.place)

    def _look_again(
        self, version: int, standing: ServableData[StoragePath]
    ) -> ServableData[StoragePath]:
        """Find what is under the number of a version that stands; if that is not to be found out,
        what was there.
        """
        if self._was_just_listed(version, standing):
            self.listed[version] = self._previous.listed[version]
            return standing
        try:
            data = self._data(version, self._snapshot.read_version(self._index[version]))
        except Exception:
            return standing
        if data.revision == standing.revision:  # what is changing is listed again at the next poll
            self.listed[version] = self._snapshot.now
        return data

    def _was_just_listed(self, version: int, standing: ServableData[StoragePath]) -> bool:
        listed = self._previous.listed.get(version)
        if listed is None or self._previous.directories[version] != self._index[version]:
            return False
        num_files = len(standing.data.files) if standing.data else 0
        pause = min(num_files // _FILES_LISTED_PER_SECOND, _MAX_SECONDS_UNLISTED)
        return self._snapshot.now - listed < pause

    def _awaited(self, version: int, path: StoragePath) -> list[str]:
        missing = self._servable.missing_files(path)
        return missing or self._unsettled(version, path.files)

    def _unsettled(self, version: int, files: Mapping[str, FileInfo]) -> list[str]:
        """Name the files that must settle and were written to less than a poll ago, until the
        version has kept still from one poll to the next.
        """
        wait_seconds = self._servable.poll_wait_seconds
        recent = [
            f"{name} (still changing)"
            for name, info in sorted(files.items())
            if info.modified is not None
            and self._snapshot.wall_time - info.modified < wait_seconds
            and self._servable.must_settle(name)
        ]
        if not recent:
            return []
        # Where no next poll is to come (0 or below), this is over at once.
        settling = self._settle(version, revision_of(files), wait_seconds)
        return recent if self._snapshot.now < settling.until else []

    def _settle(self, version: int, revision: str, wait_seconds: float) -> Settling:
        settling = self._previous.settling.get(version)
        if settling is None or settling.revision != revision:
            settling = Settling(revision, self._snapshot.now + wait_seconds)
        self.settling[version] = settling
        return settling


def _absences(servable: MonitoredServable, index: Mapping[int, str]) -> list[str]:
    """Say what was looked for and is not there."""
    name, policy = servable.name, servable.version_policy
    if policy == Specific():
        return [f"No specific versions requested for servable {name}."]
    wanted = policy.versions if isinstance(policy, Specific) else index.keys()
    warnings = [
        f"Version {version} of servable {name}, which was requested to be served as a 'specific' "
        "version in the servable's version policy, was not found in the file system"
        for version in sorted(wanted - index.keys())
    ]
    if not wanted & index.keys():
        warnings.append(
            f"No versions of servable {name} found under base path {servable.base_path}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return warnings


def _enumerate(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMES_IN_MESSAGE])
    hidden = len(names) - _MAX_NAMES_IN_MESSAGE
    return f"{shown} and {hidden} more" if hidden > 0 else shown
