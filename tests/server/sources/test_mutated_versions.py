"""Versions that are overwritten after they were loaded: what serves stays what it is."""

from modelserver.core.state import HeldBack
from modelserver.errors import UnavailableError
from modelserver.sources.versions import All, Latest


def test_an_available_version_that_is_overwritten_keeps_its_data_and_is_told(polls):
    before = polls.poll(1)
    polls.load(1)
    polls.write(1, "other")

    decision = polls.poll(1)

    assert decision.aspired == before.aspired
    assert decision.state.mutated == {1}


def test_nothing_is_told_of_a_version_whose_content_is_that_which_is_loaded(polls):
    polls.poll(1)
    polls.load(1)

    assert polls.poll(1).state.mutated == frozenset()


def test_a_file_that_comes_later_is_no_overwriting(polls):
    before = polls.poll(1)
    polls.load(1)
    polls.add(1, "fingerprint.pb")

    decision = polls.poll(1)

    assert decision.aspired == before.aspired
    assert decision.state.mutated == frozenset()


def test_a_file_that_goes_is_an_overwriting(polls):
    polls.add(1, "asset")
    polls.poll(1)
    polls.load(1)
    polls.write(1)

    assert polls.poll(1).state.mutated == {1}


def test_nothing_is_told_any_more_once_the_content_is_back(polls):
    polls.poll(1)
    polls.load(1)
    polls.write(1, "other")
    polls.poll(1)
    polls.write(1)

    assert polls.poll(1).state.mutated == frozenset()


def test_a_version_that_is_not_available_gets_the_new_content(polls):
    before = polls.poll(1).state.aspired[1]
    polls.write(1, "other")

    decision = polls.poll(1)

    assert decision.aspired[0].revision != before.revision
    assert decision.state.mutated == frozenset()


def test_an_overwritten_version_that_is_available_no_longer_gets_the_new_content(polls):
    before = polls.poll(1).state.aspired[1]
    polls.load(1)
    polls.write(1, "other")
    polls.poll(1)
    polls.loaded = {}

    decision = polls.poll(1)

    assert decision.aspired[0].revision != before.revision
    assert decision.state.mutated == frozenset()


def test_only_the_version_that_is_overwritten_is_told_of(polls):
    polls.policy = All()
    polls.poll(1, 2)
    polls.load(1, 2)
    polls.write(1, "other")

    assert polls.poll(1, 2).state.mutated == {1}


def test_a_version_that_is_replaced_is_told_of_no_longer(polls):
    polls.poll(1)
    polls.load(1)
    polls.write(1, "other")
    polls.poll(1)

    assert polls.poll(1, 2).state.mutated == frozenset()


def test_what_is_known_of_a_version_stays_known_while_it_cannot_be_listed(polls):
    polls.poll(1)
    polls.load(1)
    polls.write(1, "other")
    polls.poll(1)
    polls.fail(1, UnavailableError("outage"))

    assert polls.poll(1).state.mutated == {1}


def test_what_is_known_of_a_version_stays_known_while_no_listing_shows_it(polls):
    polls.poll(1)
    polls.load(1)
    polls.write(1, "other")
    polls.poll(1)

    assert [polls.poll().state.mutated, polls.poll().state.mutated] == [{1}, {1}]


def test_what_is_known_of_a_version_stays_known_while_its_successor_is_coming(polls):
    polls.poll(1)
    polls.load(1)
    polls.write(1, "other")
    polls.poll(1)
    polls.away = {2: HeldBack("downloading", is_coming=True)}

    assert [polls.poll(1, 2).state.mutated, polls.poll(1, 2).state.mutated] == [{1}, {1}]


def test_a_version_that_is_overwritten_while_its_successor_is_coming_is_told_of(polls):
    polls.poll(1)
    polls.load(1)
    polls.away = {2: HeldBack("downloading", is_coming=True)}
    polls.poll(1, 2)
    polls.write(1, "other")

    assert polls.poll(1, 2).state.mutated == {1}


def test_content_that_can_no_longer_be_fetched_need_not_be_here(polls):
    polls.policy = All()
    polls.poll(1, 2)
    polls.load(1, 2)
    polls.write(1, "other")

    found = [polls.wanted(1, 2)]
    polls.poll()
    found.append(polls.wanted())  # which lets the last list stand

    assert found == [[2], [2]]


# How often what is available is listed…


def listed(polls, seconds):
    """Poll once a second; return after how many seconds the version was listed."""
    polls.listed.clear()
    found = []
    for second in range(seconds):
        polls.poll(1)
        found += [second] * len(polls.listed)
        polls.listed.clear()
    return found


def test_an_available_version_is_left_unlisted_for_as_long_as_it_says(polls):
    polls.relist_seconds = 5.0
    polls.poll(1)
    polls.load(1)

    assert listed(polls, 12) == [0, 5, 10]


def test_a_version_that_is_not_available_is_listed_at_every_poll(polls):
    polls.relist_seconds = 5.0
    polls.poll(1)

    assert listed(polls, 4) == [0, 1, 2, 3]


def test_a_version_is_listed_at_once_when_it_is_available_no_longer(polls):
    polls.relist_seconds = 5.0
    polls.poll(1)
    polls.load(1)
    polls.poll(1)
    polls.loaded = {}

    assert listed(polls, 2) == [0, 1]


def test_a_version_that_has_become_available_is_not_listed_sooner_for_that(polls):
    polls.relist_seconds = 5.0
    polls.poll(1)
    polls.poll(1)
    polls.load(1)

    assert listed(polls, 6) == [4]


def test_an_overwritten_version_is_listed_no_more_often_and_stays_known_in_between(polls):
    polls.relist_seconds = 5.0
    polls.poll(1)
    polls.load(1)
    polls.write(1, "other")
    polls.listed.clear()

    found = [polls.poll(1).state.mutated for _ in range(5)]
    listed_in_between = list(polls.listed)
    polls.write(1)

    assert found == [{1}] * 5
    assert listed_in_between == [1]
    assert polls.poll(1).state.mutated == frozenset()


def test_a_version_that_the_pause_lets_alone_is_seen_as_it_was(polls):
    polls.relist_seconds = 5.0
    polls.poll(1)
    polls.load(1)
    polls.poll(1)
    polls.write(1, "other")

    assert [len(polls.poll(1).state.mutated) for _ in range(5)] == [0, 0, 0, 0, 1]


def test_a_pause_holds_for_each_version_by_itself(polls):
    polls.policy, polls.relist_seconds = Latest(2), 5.0
    polls.poll(1)
    polls.load(1)
    polls.poll(1)
    polls.poll(1, 2)
    polls.listed.clear()

    polls.poll(1, 2)

    assert polls.listed == [2]
