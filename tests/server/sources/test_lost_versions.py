"""Versions that a listing does not show: one listing may be wrong, two are believed, and no listing
unloads everything.
"""

import pytest

from modelserver.core.state import HeldBack
from modelserver.sources.versions import All, Latest, Specific

NOT_FOUND_WARNING = (
    "No versions of servable m found under base path /base. "
    "Did you forget to name your leaf directory as a number (eg. '/1/')?"
)
REFUSAL = "Refusing to unload all versions for Servable: m"
LOST = (
    "Version 2 of servable m is no longer listed under /base: "
    "it is unloaded if the next poll does not find it either"
)


@pytest.mark.parametrize(
    ("policy", "before", "afterwards"),
    [
        pytest.param(Latest(1), [2], [1], id="latest-1"),
        pytest.param(Latest(2), [2, 1], [1], id="latest-2"),
        pytest.param(All(), [2, 1], [1], id="all"),
        pytest.param(Specific(frozenset({1, 2})), [2, 1], [1], id="specific"),
    ],
)
def test_a_version_is_gone_when_two_listings_have_not_shown_it(polls, policy, before, afterwards):
    polls.policy = policy

    found = [polls.aspired(1, 2), polls.aspired(1), polls.aspired(1)]

    assert found == [before, before, afterwards]


def test_a_version_that_is_lost_by_one_listing_and_back_in_the_next_is_never_unloaded(polls):
    polls.policy = All()
    before = polls.poll(1, 2)

    for _ in range(3):
        assert polls.poll(1).aspired == before.aspired
        assert polls.poll(1, 2).aspired == before.aspired


def test_polls_on_request_in_one_moment_count_as_one(polls):
    polls.poll(1, 2)
    polls.pause_seconds = 0.1

    assert [polls.aspired(1) for _ in range(5)] == [[2]] * 5
    assert polls.aspired(1) == [1]


def test_of_two_versions_lost_by_turns_neither_is_unloaded(polls):
    polls.policy = All()
    polls.poll(1, 2)

    assert [polls.aspired(1), polls.aspired(2), polls.aspired(1)] == [[2, 1]] * 3


def test_a_version_is_shown_also_by_a_listing_of_which_nothing_is_wanted(polls):
    polls.policy = All()
    polls.poll(1, 2)
    polls.poll(2)
    polls.policy = Specific(frozenset({9}))
    refused = polls.aspired(1, 2)
    polls.policy = All()

    assert refused is None
    assert [polls.aspired(2), polls.aspired(2)] == [[2, 1], [2]]


def test_what_is_lost_is_warned_of_until_it_is_gone(polls):
    polls.poll(1, 2)

    assert [polls.poll(1).warnings, polls.poll(1).warnings] == [(LOST,), ()]


def test_a_specific_version_is_not_missed_before_it_is_gone(polls):
    polls.policy = Specific(frozenset({1, 2}))
    polls.poll(1, 2)

    lost, gone = polls.poll(1).warnings, polls.poll(1).warnings

    assert lost == (LOST,)
    assert len(gone) == 1
    assert "was not found in the file system" in gone[0]


@pytest.mark.parametrize("poll_wait_seconds", [0, -1])
def test_a_version_is_gone_at_once_where_no_next_poll_is_to_come(polls, poll_wait_seconds):
    polls.poll_wait_seconds = poll_wait_seconds
    polls.poll(1, 2)

    decision = polls.poll(1)

    assert [data.id.version for data in decision.aspired] == [1]
    assert decision.warnings == ()


def test_a_version_that_was_held_back_and_is_lost_leaves_no_trace(polls):
    polls.write(2, name="model.part")
    polls.poll(1, 2)

    decision = polls.poll(1)

    assert decision.held_back == {}
    assert decision.warnings == ()


def test_a_version_that_the_policy_no_longer_wants_is_not_kept_because_it_is_lost(polls):
    polls.policy = Latest(2)
    polls.poll(1, 2)
    polls.policy = Latest(1)

    assert polls.aspired(2) == [2]


def test_a_version_that_comes_back_after_it_was_gone_is_checked_again(polls):
    for versions in [(1, 2), (1,), (1,)]:
        polls.poll(*versions)
    polls.write(2, name="model.part")

    decision = polls.poll(1, 2)

    assert [data.id.version for data in decision.aspired] == [1]
    assert list(decision.held_back) == [2]


# Nothing is left…


def test_empty_listings_let_the_last_list_stand(polls):
    before = polls.poll(1).state.aspired
    lost = polls.poll()

    refused = polls.poll()

    assert [data.id.version for data in lost.aspired] == [1]
    assert refused.aspired is None
    assert refused.state.aspired == before
    assert refused.warnings == (NOT_FOUND_WARNING, REFUSAL)


def test_an_empty_listing_lets_the_last_list_stand_where_no_next_poll_is_to_come(polls):
    polls.poll_wait_seconds = 0
    polls.poll(1)

    decision = polls.poll()

    assert decision.aspired is None
    assert decision.warnings == (NOT_FOUND_WARNING, REFUSAL)


def test_a_base_path_with_nothing_but_an_incomplete_version_lets_the_last_list_stand(polls):
    polls.poll(1)
    polls.write(2, name="model.part")
    polls.poll(2)

    decision = polls.poll(2)

    assert decision.aspired is None
    assert decision.held_back == {2: HeldBack("waiting for upload: model")}
    assert decision.warnings == (REFUSAL,)


def test_a_version_that_was_out_of_sight_is_not_checked_anew_when_it_returns(polls):
    for versions in [(1,), (), (), ()]:
        polls.poll(*versions)
    polls.write(1, name="model.part")

    assert polls.aspired(1) == [1]


def test_empty_listings_unload_everything_where_versions_need_not_be_present(polls):
    polls.always_present = False
    found = [polls.aspired(1), polls.aspired()]

    decision = polls.poll()

    assert found == [[1], [1]]
    assert decision.aspired == ()
    assert decision.warnings == (NOT_FOUND_WARNING,)
