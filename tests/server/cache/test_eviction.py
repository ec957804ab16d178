from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.sources.cache.eviction import Entry, Eviction, Room, plan_eviction

PLENTY = 10**6
UNLIMITED = Room(None, PLENTY, PLENTY)


def whole(address: str, size: int, last_used: float, *, is_in_use: bool = False) -> Entry:
    return Entry(address, size, size, last_used, is_in_use)


OLD, NEWER, NEWEST = whole("old", 40, 1.0), whole("newer", 30, 2.0), whole("newest", 20, 3.0)
USED = whole("used", 10, 0.0, is_in_use=True)
CACHE = [NEWEST, OLD, USED, NEWER]


@pytest.mark.parametrize(
    ("room", "needed", "dropped", "lacking"),
    [
        pytest.param(Room(None, 500, 1000), 100, [], 0, id="there-is-room"),
        pytest.param(Room(110, PLENTY, PLENTY), 10, [], 0, id="the-limit-is-met-exactly"),
        pytest.param(Room(110, PLENTY, PLENTY), 11, ["old"], 0, id="a-byte-beyond-the-limit"),
        pytest.param(Room(110, PLENTY, PLENTY), 50, ["old"], 0, id="the-oldest-is-enough"),
        pytest.param(Room(110, PLENTY, PLENTY), 51, ["old", "newer"], 0, id="in-their-order"),
        pytest.param(
            Room(110, PLENTY, PLENTY), 100, ["old", "newer", "newest"], 0, id="all-but-what-is-used"
        ),
        pytest.param(
            Room(110, PLENTY, PLENTY), 107, ["old", "newer", "newest"], 7, id="not-even-then"
        ),
        pytest.param(Room(None, 100, 1000), 0, [], 0, id="the-reserve-is-met-exactly"),
        pytest.param(Room(None, 100, 1000), 1, ["old"], 0, id="the-reserve-is-touched"),
        pytest.param(
            Room(None, 30, 1000), 100, ["old", "newer", "newest"], 0, id="the-reserve-is-used-up"
        ),
        pytest.param(
            Room(None, 5, 1000), 100, ["old", "newer", "newest"], 5, id="the-disk-is-too-small"
        ),
        pytest.param(Room(10**9, 50, 1000), 40, [], 0, id="no-reserve-where-there-is-a-limit"),
        pytest.param(Room(10**9, 50, 1000), 51, ["old"], 0, id="the-disk-below-the-limit"),
        pytest.param(
            Room(110, 20, 1000), 70, ["old", "newer"], 0, id="the-limit-and-the-disk-together"
        ),
    ],
)
def test_what_leaves_for_new_bytes(
    room: Room, needed: int, dropped: list[str], lacking: int
) -> None:
    assert plan_eviction(CACHE, room, needed) == Eviction(tuple(dropped), lacking)


def test_what_is_used_stays_though_it_is_the_oldest() -> None:
    assert plan_eviction([USED], Room(5, PLENTY, PLENTY), 5) == Eviction((), 10)


def test_of_two_used_at_the_same_time_it_is_always_the_same_that_leaves() -> None:
    twins = [whole("b", 10, 1.0), whole("a", 10, 1.0)]

    assert plan_eviction(twins, Room(20, PLENTY, PLENTY), 10).addresses == ("a",)


def test_what_others_are_still_to_write_is_no_room() -> None:
    coming = Entry("coming", 60, 10, 1.0, is_in_use=True)

    assert plan_eviction([coming], Room(10**9, 100, 1000), 50) == Eviction((), 0)
    assert plan_eviction([coming], Room(10**9, 100, 1000), 51) == Eviction((), 1)


def test_a_version_that_was_begun_counts_whole_against_the_limit_and_frees_what_is_there() -> None:
    begun = Entry("begun", 60, 10, 1.0)

    assert plan_eviction([begun], Room(60, PLENTY, PLENTY), 60) == Eviction(("begun",), 0)
    assert plan_eviction([begun], Room(10**9, 45, 1000), 60) == Eviction(("begun",), 5)


def test_what_frees_nothing_stays_where_the_disk_is_full() -> None:
    empty = Entry("empty", 60, 0, 1.0)

    assert plan_eviction([empty, OLD], Room(10**9, 0, 1000), 30).addresses == ("old",)


# Whatever is in the cache…

entries = st.builds(
    lambda size, share, last_used, is_in_use: (size, size * share // 4, last_used, is_in_use),
    st.integers(0, 50),
    st.sampled_from([0, 1, 4, 4]),
    st.integers(0, 5),
    st.booleans(),
)
caches = st.lists(entries, max_size=8).map(
    lambda found: [Entry(f"{number}", *entry) for number, entry in enumerate(found)]
)
rooms = st.builds(
    Room, st.one_of(st.none(), st.integers(0, 300)), st.integers(0, 200), st.integers(200, 600)
)
needs = st.integers(0, 200)


def excess(entries: Sequence[Entry], gone: Sequence[str], room: Room, needed: int) -> int:
    """By how many bytes what is needed does not fit once some have gone."""
    left = [entry for entry in entries if entry.address not in gone]
    freed = sum(entry.on_disk for entry in entries if entry.address in gone)
    promised = sum(entry.size - entry.on_disk for entry in entries if entry.is_in_use)
    over_disk = needed + promised - room.free - freed
    if room.limit is None:
        return over_disk
    return max(over_disk, sum(entry.size for entry in left) + needed - room.limit)


def excess_with_reserve(
    entries: Sequence[Entry], gone: Sequence[str], room: Room, needed: int
) -> int:
    reserve = int(room.total * 0.1) if room.limit is None else 0
    return excess(entries, gone, room, needed + reserve)


@given(caches, rooms, needs)
def test_nothing_leaves_that_is_used(entries, room, needed):
    in_use = {entry.address for entry in entries if entry.is_in_use}

    assert not in_use & set(plan_eviction(entries, room, needed).addresses)


@given(caches, rooms, needs)
def test_the_least_recently_used_leaves_first(entries, room, needed):
    last_used = {entry.address: entry.last_used for entry in entries}
    left = [last_used[address] for address in plan_eviction(entries, room, needed).addresses]

    assert left == sorted(left)


@given(caches, rooms, needs)
def test_no_more_leaves_than_must(entries, room, needed):
    dropped = plan_eviction(entries, room, needed).addresses

    for count in range(len(dropped)):
        assert excess_with_reserve(entries, dropped[:count], room, needed) > 0


@given(caches, rooms, needs)
def test_enough_leaves_unless_nothing_is_left_that_could(entries, room, needed):
    plan = plan_eviction(entries, room, needed)

    is_full = excess_with_reserve(entries, plan.addresses, room, needed) > 0
    idle = {entry.address for entry in entries if not entry.is_in_use and entry.on_disk}
    assert not is_full or idle <= set(plan.addresses)


@given(caches, rooms, needs)
def test_what_is_lacking_is_what_does_not_fit_once_they_have_gone(entries, room, needed):
    plan = plan_eviction(entries, room, needed)

    assert plan.lacking == max(0, excess(entries, plan.addresses, room, needed))


@given(caches, needs, st.integers(0, 10**6))
def test_the_reserve_refuses_nothing(entries, needed, total):
    promised = sum(entry.size - entry.on_disk for entry in entries if entry.is_in_use)

    assert plan_eviction(entries, Room(None, needed + promised, total), needed).lacking == 0


@given(caches, rooms, needs)
def test_the_order_of_the_entries_does_not_count(entries, room, needed):
    assert plan_eviction(entries[::-1], room, needed) == plan_eviction(entries, room, needed)
