"""What one poll of one servable concludes. Pure: a snapshot and the past come in, a Decision comes
out.

The rules, in order:

1. A version counts once it is complete. Until then it is held back: neither aspired nor in the way
   of an older one.
2. A version that has been aspired stays complete, whatever happens to its files, until its
   directory is gone or the policy no longer wants it. It is listed all the same, because other
   content under its number must get another revision; the more files it has, the less often.
3. The policy chooses among the complete versions.
4. What is chosen and not here yet is held back until it has been fetched, and what stands stays
   until then: also where the policy unloads before it loads, nothing is given up for a download.
   Where nothing stands, of the latest versions an older one that is here stands in.
5. An aspired version that a listing has lost is gone when one about an interval later has not found
   it either.
6. An empty choice leaves the last list standing (unless told otherwise): a deleted folder, a volume
   that was not mounted or a typo in a policy does not take a serving model down.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from modelserver.core.servable import ServableData, ServableId
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import FileInfo, StoragePath, printable
from modelserver.errors import UnavailableError, as_serving_error
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.versions import Latest, Specific, index_children, select_versions

_MAX_NAMES_IN_MESSAGE = 5
# Keeps what listing a standing version costs below a hundredth of a CPU, however large it is.
_FILES_LISTED_PER_SECOND = 1000
_MAX_SECONDS_UNLISTED = 30
_MAX_STAND_INS = 3


def _is_here(path: StoragePath) -> HeldBack | None:
    """Stand in where nothing needs to be fetched."""


def _is_not_known(version: int) -> Hashable:
    """Stand in where nobody says what is loaded."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one poll sees.

    `children` are the names under the base path; `read_version` lists the files of the one so named
    and may raise. `now` is monotonic, in seconds; `wall_time` the epoch time that files' `modified`
    is compared with. `awaited` says what a version still waits for before it can be loaded;
    `loaded_revision` which content of an available version is loaded, None where it is not. It
    `has_forerunner` if versions from another place serve until one from here does.
    """

    children: Sequence[str]
    read_version: Callable[[str], StoragePath]
    now: float
    wall_time: float
    awaited: Callable[[StoragePath], HeldBack | None] = _is_here
    loaded_revision: Callable[[int], Hashable] = _is_not_known
    has_forerunner: bool = False


@dataclass(frozen=True, slots=True)
class Settling:
    """Content that may still be growing: taken for complete if it is the same at time `until`."""

    revision: Hashable
    until: float


@dataclass(frozen=True, slots=True)
class PollState:
    """What the next poll needs to know of the last one: the versions that stand as aspired, by
    number, the names of their directories, when (monotonic) those that keep still were last
    listed, and what was settling. The `absent` have not been found since the time with them; of the
    `mutated`, other content is there than is loaded.
    """

    aspired: Mapping[int, ServableData[StoragePath]] = field(default_factory=dict)
    directories: Mapping[int, str] = field(default_factory=dict)
    listed: Mapping[int, float] = field(default_factory=dict)
    settling: Mapping[int, Settling] = field(default_factory=dict)
    absent: Mapping[int, float] = field(default_factory=dict)
    mutated: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one poll.

    `aspired` is the complete list to emit, newest first, or None to say nothing: the last list
    stands. `held_back` names every version that the policy wants and that is not complete, or not
    here, with what it waits for. `wanted` is what has to be here: what is emitted, and what will be
    once it has been fetched.
    """

    aspired: tuple[ServableData[StoragePath], ...] | None
    held_back: Mapping[int, HeldBack]
    warnings: tuple[str, ...]
    state: PollState
    wanted: tuple[StoragePath, ...] = ()


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
    lost = previous.aspired.keys() - index.keys()
    absent = {version: previous.absent.get(version, snapshot.now) for version in lost}
    doubtful = _doubtful(servable, absent, snapshot.now)
    index |= {version: previous.directories[version] for version in doubtful}
    examination = _Examination(servable, snapshot, previous, index)
    chosen = select_versions(servable.version_policy, index, examination.is_complete)
    plan = _plan(chosen, examination, index)
    warnings = [*duplicates, *_absences(servable, index), *_doubts(servable, doubtful)]
    state = PollState(
        plan.aspired,
        {version: index[version] for version in plan.aspired},
        examination.listed,
        examination.settling,
        absent,
        frozenset(examination.mutated & plan.aspired.keys()),
    )
    if plan.aspired or not (chosen or versions_always_present):
        emitted = tuple(plan.aspired.values())
        return Decision(emitted, plan.held_back, tuple(warnings), state, plan.wanted)
    if previous.aspired:
        if not chosen:
            warnings.append(f"Refusing to unload all versions for Servable: {servable.name}")
        state = replace(previous, settling=state.settling, absent=state.absent)
    wanted = (*plan.wanted, *_to_be_here(state.aspired, state.mutated))
    return Decision(None, plan.held_back, tuple(warnings), state, wanted)


def revision_of(files: Mapping[str, FileInfo]) -> frozenset[tuple[str, int, str]]:
    """What a listing shows of the content: the same for the same names, sizes and digests, or tags
    where there are none. One that has more files contains one that has less.
    """
    return frozenset((name, info.size, info.digest or info.tag) for name, info in files.items())


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of a choice: see `Decision`."""

    aspired: Mapping[int, ServableData[StoragePath]]
    held_back: Mapping[int, HeldBack]
    wanted: tuple[StoragePath, ...]


def _plan(chosen: Sequence[int], examination: "_Examination", index: Mapping[int, str]) -> _Plan:
    """Aspire what is chosen and here, and until all of it is, also what stands, or an older version
    that is here.
    """
    coming = examination.coming(chosen)
    kept = examination.standing.keys() & index.keys() if coming else set()
    here = {*chosen, *filter(examination.is_complete, kept - {*chosen})} - coming.keys()
    if coming and not here:
        here = examination.stand_in(min(coming))
    aspired = {version: examination.complete[version] for version in sorted(here, reverse=True)}
    needed = {version: examination.complete[version] for version in coming} | aspired
    needed |= {v: data for v, data in examination.renewed.items() if v in aspired}
    wanted = _to_be_here(needed, examination.mutated)
    return _Plan(aspired, {**examination.held_back, **coming}, wanted)


def _to_be_here(
    versions: Mapping[int, ServableData[StoragePath]], mutated: Set[int]
) -> tuple[StoragePath, ...]:
    """Where the versions are that can still be fetched."""
    candidates = (data.data for version, data in versions.items() if version not in mutated)
    return tuple(path for path in candidates if path is not None)


def _doubtful(servable: MonitoredServable, absent: Mapping[int, float], now: float) -> list[int]:
    """Of the aspired versions that are `absent`, those of which one listing may be wrong: until a
    poll about an interval after the first that missed them. Where no next poll is to come, none.
    """
    patience = servable.poll_wait_seconds / 2
    return [version for version, since in absent.items() if now - since < patience]


def _doubts(servable: MonitoredServable, doubtful: Iterable[int]) -> list[str]:
    return [
        f"Version {version} of servable {servable.name} is no longer listed under "
        f"{servable.base_path}: it is unloaded if the next poll does not find it either"
        for version in sorted(doubtful)
    ]


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
        self.held_back: dict[int, HeldBack] = {}
        self.mutated: set[int] = set()
        self.renewed: dict[int, ServableData[StoragePath]] = {}
        """What is to take the place of versions that stand, once it has been fetched."""
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
        except UnavailableError as error:
            self.held_back[version] = HeldBack("it is looked at again", error=error)
            return False
        except Exception as error:
            # A bad directory or a plug-in's bug is that version's state only.
            self.held_back[version] = HeldBack(as_serving_error(error).message or repr(error))
            return False
        if awaited:
            self.held_back[version] = HeldBack(f"waiting for upload: {_enumerate(awaited)}")
            return False
        self.complete[version] = self._data(version, path)
        return True

    @property
    def standing(self) -> Mapping[int, ServableData[StoragePath]]:
        """What has been aspired until now."""
        return self._previous.aspired

    def coming(self, chosen: Sequence[int]) -> dict[int, HeldBack]:
        """Of the `chosen` versions, those that must be fetched before they are aspired."""
        new = [version for version in chosen if version not in self.standing]
        waiting = {version: self._awaited_of(version) for version in new}
        return {version: why for version, why in waiting.items() if why is not None}

    def stand_in(self, coming: int) -> set[int]:
        """The newest version older than `coming` that is here, for the time until that has come: a
        server that starts anew then goes on with what its cache has. Of few it is looked whether
        they are, since each look at a version is a listing.
        """
        is_latest = isinstance(self._servable.version_policy, Latest)
        if self._snapshot.has_forerunner or not is_latest:
            return set()
        older = sorted((version for version in self._index if version < coming), reverse=True)
        reported = dict(self.held_back)
        candidates = filter(self.is_complete, older[:_MAX_STAND_INS])
        found = next((v for v in candidates if self._awaited_of(v) is None), None)
        self.held_back = reported  # of those nobody has asked for
        return set() if found is None else {found}

    def _awaited_of(self, version: int) -> HeldBack | None:
        path = self.complete[version].data
        assert path is not None
        return self._snapshot.awaited(path)

    def _data(self, version: int, path: StoragePath) -> ServableData[StoragePath]:
        id_ = ServableId(self._servable.name, version)
        revision = revision_of(path.files)
        return ServableData(id_, path, revision=revision, origin=self._servable.place)

    def _look_again(
        self, version: int, standing: ServableData[StoragePath]
    ) -> ServableData[StoragePath]:
        """Find what is under the number of a version that stands; if that is not to be found out,
        what was there. What is loaded stays what it is, though other content has taken its place.
        """
        loaded = self._snapshot.loaded_revision(version)
        if self._was_just_listed(version, standing, loaded):
            self.listed[version] = self._previous.listed[version]
            self.mutated |= self._previous.mutated & {version}
            return standing
        try:
            data = self._data(version, self._snapshot.read_version(self._index[version]))
        except Exception:
            self.mutated |= self._previous.mutated & {version}
            return standing
        if loaded is not None or data.revision == standing.revision:
            self.listed[version] = self._snapshot.now  # what is changing is listed at the next poll
        if loaded is None:
            return self._renewed(data, standing)
        found = data.revision
        if isinstance(loaded, frozenset) and isinstance(found, frozenset) and not loaded <= found:
            self.mutated.add(version)
        return standing

    def _renewed(
        self, data: ServableData[StoragePath], standing: ServableData[StoragePath]
    ) -> ServableData[StoragePath]:
        """What is there now of a version that stands and is not loaded, once that is here."""
        if data.revision == standing.revision or data.data is None:
            return data
        if self._snapshot.awaited(data.data) is None:
            return data
        self.renewed[data.id.version] = data
        return standing

    def _was_just_listed(
        self, version: int, standing: ServableData[StoragePath], loaded: Hashable
    ) -> bool:
        listed = self._previous.listed.get(version)
        if listed is None or self._previous.directories[version] != self._index[version]:
            return False
        num_files = len(standing.data.files) if standing.data else 0
        pause: float = min(num_files // _FILES_LISTED_PER_SECOND, _MAX_SECONDS_UNLISTED)
        if loaded is not None:  # one that has not got there yet may be repaired at any moment
            pause = max(pause, self._servable.relist_seconds)
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

    def _settle(self, version: int, revision: Hashable, wait_seconds: float) -> Settling:
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
    shown = ", ".join(map(printable, names[:_MAX_NAMES_IN_MESSAGE]))
    hidden = len(names) - _MAX_NAMES_IN_MESSAGE
    return f"{shown} and {hidden} more" if hidden > 0 else shown
