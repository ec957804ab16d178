from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from modelserver.core.state import HeldBack
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import NotFoundError, UnavailableError
from modelserver.sources.decision import Decision, PollState, Snapshot, decide, revision_of
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.versions import All, Latest, ServableVersionPolicy, Specific

NOW = 500.0
WALL_TIME = 1_700_000_000.0
NOT_FOUND_WARNING = (
    "No versions of servable m found under base path /base. "
    "Did you forget to name your leaf directory as a number (eg. '/1/')?"
)

Files = Mapping[str, FileInfo]
WHOLE: Files = {"model": FileInfo(3, "a")}
PARTIAL: Files = {"model.part": FileInfo(1, "a")}


def missing_files(path: StoragePath) -> list[str]:
    return [] if "model" in path.files else ["model"]


def watching(
    policy: ServableVersionPolicy = Latest(),  # noqa: B008  # a frozen value
    *,
    missing: Callable[[StoragePath], list[str]] = missing_files,
    poll_wait_seconds: float = 1.0,
) -> MonitoredServable:
    return MonitoredServable(
        "m", "/base", missing, policy, poll_wait_seconds, lambda name: name.startswith("assets")
    )


def seeing(
    tree: Mapping[str, Files | Exception], *, now: float = NOW, wall_time: float = WALL_TIME
) -> Snapshot:
    """Show a base path with these version directories."""

    def read_version(directory: str) -> StoragePath:
        files = tree[directory]
        if isinstance(files, Exception):
            raise files
        return StoragePath(f"/base/{directory}", files)

    return Snapshot(list(tree), read_version, now, wall_time)


def aspired(decision: Decision) -> list[int] | None:
    if decision.aspired is None:
        return None
    return [data.id.version for data in decision.aspired]


def after(servable: MonitoredServable, tree: Mapping[str, Files | Exception]) -> PollState:
    return decide(servable, seeing(tree), PollState()).state


# Choosing…


def test_the_newest_version_is_aspired_at_the_first_poll_with_its_path() -> None:
    decision = decide(watching(), seeing({"1": WHOLE, "00000002": WHOLE}), PollState())

    assert decision.aspired is not None
    (data,) = decision.aspired
    assert (data.id.name, data.id.version) == ("m", 2)
    assert data.data == StoragePath("/base/00000002", WHOLE)
    assert decision.held_back == {}
    assert decision.warnings == ()


def test_the_whole_list_is_stated_again_at_each_poll() -> None:
    servable = watching(All())
    tree = {"1": WHOLE, "2": WHOLE}
    first = decide(servable, seeing(tree), PollState())

    second = decide(servable, seeing(tree, now=NOW + 1), first.state)

    assert second.aspired == first.aspired


def test_all_aspires_one_directory_where_two_have_the_same_number() -> None:
    decision = decide(watching(All()), seeing({"1": WHOLE, "001": WHOLE}), PollState())

    assert decision.aspired is not None
    assert [data.data.path for data in decision.aspired if data.data] == ["/base/1"]
    assert len(decision.warnings) == 1


def test_a_version_that_the_policy_no_longer_wants_is_left_out() -> None:
    state = after(watching(Latest(2)), {"1": WHOLE, "2": WHOLE})

    decision = decide(watching(Latest(1)), seeing({"1": WHOLE, "2": WHOLE}), state)

    assert aspired(decision) == [2]


def test_a_missing_specific_version_is_only_a_warning() -> None:
    policy = Specific(frozenset({1, 5}))

    decision = decide(watching(policy), seeing({"1": WHOLE, "2": WHOLE}), PollState())

    assert aspired(decision) == [1]
    assert decision.warnings == (
        "Version 5 of servable m, which was requested to be served as a 'specific' version in the "
        "servable's version policy, was not found in the file system",
    )


def test_specific_versions_of_which_none_is_there_are_no_versions_found() -> None:
    decision = decide(watching(Specific(frozenset({5}))), seeing({"1": WHOLE}), PollState())

    assert aspired(decision) is None
    assert len(decision.warnings) == 2
    assert decision.warnings[1] == NOT_FOUND_WARNING


def test_no_specific_versions_at_all_is_warned_of() -> None:
    decision = decide(watching(Specific()), seeing({"1": WHOLE}), PollState())

    assert decision.warnings == ("No specific versions requested for servable m.",)


# Complete or not…


def test_an_incomplete_version_is_held_back_with_what_is_missing() -> None:
    decision = decide(watching(), seeing({"1": PARTIAL}), PollState())

    assert aspired(decision) is None
    assert decision.held_back == {1: HeldBack("waiting for upload: model")}


def test_the_newest_n_of_the_complete_versions_are_aspired_while_newer_ones_are_held_back() -> None:
    tree = {"1": WHOLE, "2": WHOLE, "3": WHOLE, "4": PARTIAL}

    decision = decide(watching(Latest(2)), seeing(tree), PollState())

    assert aspired(decision) == [3, 2]
    assert list(decision.held_back) == [4]


def test_an_incomplete_version_that_the_policy_does_not_want_is_not_reported() -> None:
    decision = decide(watching(), seeing({"1": PARTIAL, "2": WHOLE}), PollState())

    assert aspired(decision) == [2]
    assert decision.held_back == {}


def test_a_version_is_aspired_at_the_poll_that_finds_it_complete() -> None:
    servable = watching()
    state = after(servable, {"1": WHOLE, "2": PARTIAL})

    decision = decide(servable, seeing({"1": WHOLE, "2": WHOLE}), state)

    assert aspired(decision) == [2]
    assert decision.held_back == {}


def test_a_check_that_raises_counts_as_not_complete_with_its_message() -> None:
    def refuse(path: StoragePath) -> list[str]:
        raise ValueError("bad index")

    decision = decide(watching(missing=refuse), seeing({"1": WHOLE}), PollState())

    assert aspired(decision) is None
    assert decision.held_back == {1: HeldBack("ValueError: bad index")}


def test_a_version_whose_listing_fails_is_held_back_alone() -> None:
    tree = {"1": WHOLE, "2": UnavailableError("/base/2; Stale file handle")}

    decision = decide(watching(All()), seeing(tree), PollState())

    assert aspired(decision) == [1]
    assert str(decision.held_back[2].error) == "/base/2; Stale file handle"


def test_a_long_list_of_missing_files_is_cut_short() -> None:
    shards = [f"shard-{number}" for number in range(9)]

    decision = decide(watching(missing=lambda _: shards), seeing({"1": WHOLE}), PollState())

    message = "waiting for upload: shard-0, shard-1, shard-2, shard-3, shard-4 and 4 more"
    assert decision.held_back == {1: HeldBack(message)}


# A bad, partial or vanished version never removes a good one…


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({}, id="files-vanished"),
        pytest.param(PARTIAL, id="files-replaced"),
        pytest.param(UnavailableError("outage"), id="listing-fails"),
        pytest.param(NotFoundError("gone"), id="vanishes-during-the-poll"),
    ],
)
def test_a_version_once_aspired_stays_so_whatever_happens_to_its_files(
    files: Files | Exception,
) -> None:
    servable = watching()
    state = after(servable, {"1": WHOLE, "2": WHOLE})

    decision = decide(servable, seeing({"1": WHOLE, "2": files}), state)

    assert aspired(decision) == [2]
    assert decision.held_back == {}


def test_directories_that_are_no_numbers_are_warned_of_as_no_versions() -> None:
    decision = decide(watching(), seeing({"export": WHOLE}), PollState())

    assert decision.warnings == (NOT_FOUND_WARNING,)


# Files that must settle and were just written…


def assets(*, age_seconds: float, tag: str = "a") -> Files:
    return {
        **WHOLE,
        "assets/vocab.txt": FileInfo(9, tag, WALL_TIME - age_seconds),
    }


def test_assets_written_before_the_last_interval_do_not_wait() -> None:
    decision = decide(watching(), seeing({"1": assets(age_seconds=1.0)}), PollState())

    assert aspired(decision) == [1]


def test_assets_written_within_the_last_interval_wait_one_more_poll() -> None:
    servable = watching()
    tree = {"1": assets(age_seconds=0.5)}

    first = decide(servable, seeing(tree), PollState())
    second = decide(servable, seeing(tree, now=NOW + 1.0), first.state)

    assert aspired(first) is None
    assert first.held_back == {1: HeldBack("waiting for upload: assets/vocab.txt (still changing)")}
    assert aspired(second) == [1]


def test_assets_dated_in_the_future_wait_one_more_poll_and_no_longer() -> None:
    servable = watching()
    tree = {"1": assets(age_seconds=-3600)}

    first = decide(servable, seeing(tree), PollState())
    second = decide(servable, seeing(tree, now=NOW + 1.0), first.state)

    assert aspired(first) is None
    assert aspired(second) == [1]


def test_assets_that_keep_changing_keep_waiting() -> None:
    servable = watching()
    state = PollState()

    for poll in range(5):
        tree = {"1": assets(age_seconds=0.5, tag=str(poll))}
        decision = decide(servable, seeing(tree, now=NOW + poll), state)
        state = decision.state
        assert aspired(decision) is None


def test_an_extra_poll_does_not_shorten_the_wait() -> None:
    servable = watching()
    tree = {"1": assets(age_seconds=0.5)}

    first = decide(servable, seeing(tree), PollState())
    extra = decide(servable, seeing(tree, now=NOW + 0.01), first.state)
    last = decide(servable, seeing(tree, now=NOW + 1.0), extra.state)

    assert aspired(extra) is None
    assert aspired(last) == [1]


@pytest.mark.parametrize("poll_wait_seconds", [0, -1])
def test_assets_never_wait_where_no_next_poll_is_to_come(poll_wait_seconds: float) -> None:
    servable = watching(poll_wait_seconds=poll_wait_seconds)

    decision = decide(servable, seeing({"1": assets(age_seconds=-1)}), PollState())

    assert aspired(decision) == [1]


def test_files_that_need_not_settle_never_wait() -> None:
    files = {"model": FileInfo(3, "a", WALL_TIME)}

    assert aspired(decide(watching(), seeing({"1": files}), PollState())) == [1]


def test_every_file_must_settle_where_nothing_says_which() -> None:
    servable = MonitoredServable("m", "/base", missing_files)
    tree = {"1": {"model": FileInfo(3, "a", WALL_TIME - 0.5)}}

    first = decide(servable, seeing(tree), PollState())
    second = decide(servable, seeing(tree, now=NOW + 1.0), first.state)

    assert first.held_back == {1: HeldBack("waiting for upload: model (still changing)")}
    assert aspired(second) == [1]


def test_a_rule_for_settling_that_raises_holds_back_its_version_alone() -> None:
    def refuse(name: str) -> bool:
        raise ValueError("bad rule")

    servable = MonitoredServable("m", "/base", missing_files, All(), must_settle=refuse)
    tree = {"1": WHOLE, "2": {"model": FileInfo(3, "a", WALL_TIME)}}

    decision = decide(servable, seeing(tree), PollState())

    assert aspired(decision) == [1]
    assert decision.held_back == {2: HeldBack("ValueError: bad rule")}


def test_assets_of_a_storage_in_which_files_appear_whole_never_wait() -> None:
    files = {**WHOLE, "assets.extra/warmup": FileInfo(3, "generation-7")}

    assert aspired(decide(watching(), seeing({"1": files}), PollState())) == [1]


# Revisions…


def test_the_revision_changes_with_the_content_and_with_nothing_else() -> None:
    base = revision_of({"a": FileInfo(1, "t"), "b": FileInfo(2, "t")})

    assert revision_of({"b": FileInfo(2, "t"), "a": FileInfo(1, "t")}) == base
    assert revision_of({"a": FileInfo(1, "t", 5.0), "b": FileInfo(2, "t")}) == base
    assert revision_of({"a": FileInfo(9, "t"), "b": FileInfo(2, "t")}) != base
    assert revision_of({"a": FileInfo(1, "u"), "b": FileInfo(2, "t")}) != base
    assert revision_of({"a": FileInfo(1, "t")}) != base


def test_a_revision_contains_that_of_which_it_has_all_files_unchanged() -> None:
    base = revision_of({"a": FileInfo(1, "t")})

    assert base < revision_of({"a": FileInfo(1, "t"), "b": FileInfo(2, "t")})
    assert not base < revision_of({"a": FileInfo(1, "u"), "b": FileInfo(2, "t")})


def test_content_that_changed_is_emitted_under_another_revision() -> None:
    servable = watching()
    first = decide(servable, seeing({"1": WHOLE}), PollState())
    changed = {"model": replace(WHOLE["model"], tag="b")}

    second = decide(servable, seeing({"1": changed}), first.state)

    assert first.aspired is not None
    assert second.aspired is not None
    assert second.aspired[0].revision != first.aspired[0].revision
    assert second.aspired[0].data == StoragePath("/base/1", changed)


# How often versions that stand are listed…


def many(count: int, tag: str = "a") -> Files:
    return {**WHOLE, **{f"part-{number}": FileInfo(1, tag) for number in range(count - 1)}}


def listings(files: Files, times: range, *, state: PollState | None = None) -> list[int]:
    """Poll at each of `times` (seconds after the first poll) and return those that list."""
    servable = watching()
    state = state or decide(servable, seeing({"1": files}), PollState()).state
    listed = []
    for seconds in times:
        seen = seeing({"1": files}, now=NOW + seconds)

        def read(directory: str, seconds: int = seconds, seen: Snapshot = seen) -> StoragePath:
            listed.append(seconds)
            return seen.read_version(directory)

        state = decide(servable, replace(seen, read_version=read), state).state
    return listed


def test_a_version_of_few_files_is_listed_at_every_poll() -> None:
    assert listings(many(999), range(1, 5)) == [1, 2, 3, 4]


def test_a_version_of_many_files_pauses_a_second_for_each_thousand() -> None:
    assert listings(many(5000), range(1, 13)) == [1, 6, 11]


def test_no_version_pauses_for_more_than_half_a_minute() -> None:
    assert listings(many(100_000), range(1, 35)) == [1, 31]


def test_a_version_that_is_not_listed_again_yet_stands_as_it_was() -> None:
    servable = watching()
    state = decide(servable, seeing({"1": many(5000)}), PollState()).state
    first = decide(servable, seeing({"1": many(5000)}, now=NOW + 1), state)

    second = decide(servable, seeing({"1": many(5000, "b")}, now=NOW + 2), first.state)

    assert second.aspired == first.aspired


def test_what_has_changed_is_listed_again_at_the_next_poll() -> None:
    servable = watching()
    state = decide(servable, seeing({"1": many(5000)}), PollState()).state
    changed = decide(servable, seeing({"1": many(5000, "b")}, now=NOW + 1), state)

    listed = listings(many(5000, "b"), range(2, 9), state=changed.state)

    assert changed.aspired is not None
    assert changed.aspired[0].revision == revision_of(many(5000, "b"))
    assert listed == [2, 7]


def test_a_number_that_has_moved_to_another_directory_is_listed_at_once() -> None:
    servable = watching()
    state = decide(servable, seeing({"1": many(5000)}), PollState()).state
    state = decide(servable, seeing({"1": many(5000)}, now=NOW + 1), state).state

    decision = decide(servable, seeing({"001": many(5000)}, now=NOW + 2), state)

    assert decision.aspired is not None
    assert decision.aspired[0].data == StoragePath("/base/001", many(5000))
