"""Random trees, policies, fetches, failures and lost listings: what must hold at every poll."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver.core.state import HeldBack
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import UnavailableError
from modelserver.sources.decision import Decision, PollState, Snapshot, decide
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.versions import All, Latest, Specific, select_versions

VERSIONS = range(1, 5)
COMING = HeldBack("downloading", is_coming=True)

some_versions = st.frozensets(st.sampled_from(VERSIONS))
few_versions = st.frozensets(st.sampled_from(VERSIONS), max_size=1)
policies = st.one_of(
    st.builds(Latest, st.integers(1, 3)), st.just(All()), st.builds(Specific, some_versions)
)


@dataclass(frozen=True)
class Seen:
    """What one poll finds. Of the `listed` versions, some are `away`, some `incomplete`, some
    cannot be looked at; some of those that stand are `loaded`. `contents` is what is in all.
    """

    policy: object
    listed: frozenset[int]
    away: frozenset[int]
    incomplete: frozenset[int]
    unreadable: frozenset[int]
    loaded: frozenset[int]
    contents: str


# Weighted towards versions that stand: a listing that is mostly empty decides nothing.
seen = st.builds(
    Seen,
    policies,
    st.one_of(st.just(frozenset(VERSIONS)), some_versions),
    some_versions,
    few_versions,
    few_versions,
    some_versions,
    st.sampled_from(["a", "a", "b"]),
)


@dataclass
class World:
    """A servable that is polled again and again, with all that the polls have left."""

    always_present: bool
    poll_wait_seconds: float
    now: float = 500.0
    state: PollState = field(default_factory=PollState)

    def poll(self, what: Seen) -> tuple[PollState, Decision]:
        """Return what was known before, and what has been decided."""
        previous = self.state

        def read(directory: str) -> StoragePath:
            version = int(directory)
            if version in what.unreadable or version not in what.listed:
                raise UnavailableError("outage")
            name = "part" if version in what.incomplete else "model"
            return StoragePath(directory, {name: FileInfo(1, what.contents)})

        snapshot = Snapshot(
            [str(version) for version in what.listed],
            read,
            self.now,
            1e9,
            lambda path: COMING if int(path.path) in what.away else None,
            lambda v: (
                previous.aspired[v].revision if v in what.loaded & standing(previous) else None
            ),
        )
        servable = MonitoredServable(
            "m",
            "/base",
            lambda path: [] if "model" in path.files else ["model"],
            what.policy,
            self.poll_wait_seconds,
        )
        decision = decide(servable, snapshot, previous, versions_always_present=self.always_present)
        self.state = decision.state
        self.now += 1.0
        return previous, decision


def standing(state: PollState) -> set[int]:
    return set(state.aspired)


def coming(decision: Decision) -> set[int]:
    return {version for version, why in decision.held_back.items() if why.is_coming}


worlds = st.builds(World, st.booleans(), st.sampled_from([1.0, 1.0, 0.0]))
histories = st.lists(seen, min_size=1, max_size=12)
examples = settings(max_examples=150, deadline=None)


@examples
@given(worlds, histories)
def test_nothing_is_aspired_anew_before_it_is_here_and_whole(world, history):
    for what in history:
        previous, decision = world.poll(what)

        added = standing(decision.state) - standing(previous)
        assert not added & (what.away | what.incomplete | what.unreadable)


@examples
@given(worlds, histories)
def test_nothing_that_stands_and_is_listed_is_given_up_while_a_chosen_version_is_coming(
    world, history
):
    for what in history:
        previous, decision = world.poll(what)

        if coming(decision):
            assert standing(previous) & what.listed <= standing(decision.state)


@examples
@given(worlds, histories)
def test_what_is_emitted_is_what_stands_newest_first_and_what_is_not_emitted_changes_nothing(
    world, history
):
    for what in history:
        previous, decision = world.poll(what)

        if decision.aspired is None:
            assert decision.state.aspired == previous.aspired
        else:
            versions = [data.id.version for data in decision.aspired]
            assert versions == sorted(versions, reverse=True)
            assert list(decision.aspired) == list(decision.state.aspired.values())


@examples
@given(worlds, histories)
def test_what_has_to_be_here_is_what_stands_as_it_was_loaded_and_what_is_coming(world, history):
    for what in history:
        _, decision = world.poll(what)

        stands = standing(decision.state) - decision.state.mutated
        wanted = [int(path.path) for path in decision.wanted]
        assert sorted(wanted) == sorted(stands | coming(decision))


@examples
@given(worlds, histories)
def test_what_the_policy_wants_is_given_up_only_when_two_listings_have_not_shown_it(world, history):
    world.poll_wait_seconds = 1.0
    shown_before = frozenset(VERSIONS)
    for what in history:
        previous, decision = world.poll(replace(what, policy=All()))

        assert standing(previous) & (what.listed | shown_before) <= standing(decision.state)
        shown_before = what.listed


@examples
@given(worlds, histories)
def test_what_is_loaded_keeps_its_revision_for_as_long_as_it_stands(world, history):
    for what in history:
        previous, decision = world.poll(what)

        for version in what.loaded & standing(previous) & standing(decision.state):
            assert decision.state.aspired[version].revision == previous.aspired[version].revision


@examples
@given(worlds, histories, policies, st.sampled_from([frozenset({1}), frozenset(VERSIONS)]))
def test_once_everything_is_here_the_policy_has_its_way(world, history, policy, listed):
    for what in history:
        world.poll(what)
    none = frozenset()
    calm = Seen(policy, listed, none, none, none, none, "a")
    world.poll(calm)

    _, decision = world.poll(calm)

    chosen = select_versions(policy, listed, lambda version: True)
    if chosen or not world.always_present:
        assert [data.id.version for data in decision.aspired or ()] == chosen
    assert decision.held_back == {}
