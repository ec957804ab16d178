"""Versions that must be fetched: nothing that stands is given up before they are here."""

import pytest

from modelserver.core.state import HeldBack
from modelserver.errors import UnavailableError
from modelserver.sources.versions import All, Latest, Specific

COMING = HeldBack("downloading 3 of 7 files", is_coming=True)


def test_a_version_to_be_fetched_is_held_back_as_coming_and_nothing_is_emitted_at_first(polls):
    polls.away = {1: COMING}

    decision = polls.poll(1)

    assert decision.aspired is None
    assert decision.held_back == {1: COMING}
    assert decision.warnings == ()


def test_a_version_is_emitted_at_the_poll_that_finds_it_here(polls):
    polls.away = {1: COMING}
    polls.poll(1)
    polls.away = {}

    decision = polls.poll(1)

    assert [data.id.version for data in decision.aspired] == [1]
    assert decision.held_back == {}


def test_what_a_fetch_failed_for_and_when_it_is_tried_again_is_passed_on(polls):
    polls.away = {1: HeldBack("downloading", True, UnavailableError("no route"), 1e9)}

    assert polls.poll(1).held_back == polls.away


@pytest.mark.parametrize(
    ("policy", "before", "meanwhile", "afterwards"),
    [
        pytest.param(Latest(1), [1], [1], [3], id="latest-1"),
        pytest.param(Latest(2), [2, 1], [2, 1], [3, 2], id="latest-2"),
        pytest.param(All(), [2, 1], [2, 1], [3, 2, 1], id="all"),
        pytest.param(Specific(frozenset({1, 3})), [1], [1], [3, 1], id="specific"),
    ],
)
def test_what_stands_stays_until_the_newer_version_is_here(
    polls, policy, before, meanwhile, afterwards
):
    polls.policy, polls.away = policy, {3: COMING}

    found = [polls.aspired(*before), polls.aspired(*before, 3), polls.aspired(*before, 3)]
    polls.away = {}
    found.append(polls.aspired(*before, 3))

    assert found == [before, meanwhile, meanwhile, afterwards]


def test_the_one_that_stands_stays_until_the_version_rolled_back_to_is_here(polls):
    polls.poll(1, 2)
    polls.policy, polls.away = Specific(frozenset({1})), {1: COMING}

    while_coming = polls.aspired(1, 2)
    polls.away = {}

    assert while_coming == [2]
    assert polls.aspired(1, 2) == [1]


def test_a_version_that_never_arrives_keeps_the_old_one_for_ever(polls):
    polls.poll(1)
    polls.away = {2: COMING}

    assert [polls.aspired(1, 2) for _ in range(100)] == [[1]] * 100
    assert 2 in polls.poll(1, 2).held_back


def test_what_is_chosen_and_here_is_emitted_at_a_fresh_start_while_another_is_coming(polls):
    polls.policy, polls.away = Latest(2), {2: COMING}

    assert polls.aspired(1, 2, 3) == [3]


def test_what_has_arrived_is_emitted_beside_what_stands_while_another_is_coming(polls):
    polls.policy = Latest(2)
    polls.poll(1, 2)
    polls.away = {3: COMING}

    found = [polls.aspired(1, 2, 3, 4)]
    polls.away = {}
    found.append(polls.aspired(1, 2, 3, 4))

    assert found == [[4, 2, 1], [4, 3]]


def test_an_older_version_that_is_here_stands_in_until_the_latest_has_come(polls):
    polls.away = {3: COMING}
    first = polls.poll(1, 2, 3)
    polls.away = {}

    assert [data.id.version for data in first.aspired] == [2]
    assert first.held_back == {3: COMING}
    assert polls.aspired(1, 2, 3) == [3]


def test_no_version_older_than_the_one_that_stands_in_is_looked_at(polls):
    polls.away = {3: COMING}

    polls.poll(1, 2, 3)

    assert polls.listed == [3, 2]


def test_only_what_is_here_and_complete_stands_in_and_the_rest_is_not_told_of(polls):
    polls.write(3, name="model.part")
    polls.away = {2: COMING, 4: COMING}

    decision = polls.poll(1, 2, 3, 4)

    assert [data.id.version for data in decision.aspired] == [1]
    assert decision.held_back == {4: COMING}


def test_of_old_versions_only_a_few_are_looked_at_for_one_to_stand_in(polls):
    polls.away = dict.fromkeys(range(2, 10), COMING)

    assert polls.aspired(*range(1, 10)) is None
    assert polls.listed == [9, 8, 7, 6]


@pytest.mark.parametrize("policy", [Specific(frozenset({2})), Specific(frozenset({2, 3}))])
def test_nothing_stands_in_for_versions_that_are_asked_for_by_number(polls, policy):
    polls.policy = policy
    polls.away = {2: COMING, 3: COMING}

    assert polls.aspired(1, 2, 3) is None


def test_what_is_overtaken_while_it_is_coming_is_waited_for_no_longer(polls):
    polls.poll(1)
    polls.away = {2: COMING}
    polls.poll(1, 2)

    decision = polls.poll(1, 2, 3)

    assert [data.id.version for data in decision.aspired] == [3]
    assert decision.held_back == {}


def test_an_incomplete_version_is_not_coming(polls):
    polls.write(1, name="model.part")
    polls.away = {1: COMING}

    assert polls.poll(1).held_back == {1: HeldBack("waiting for upload: model")}


def test_a_version_that_stands_is_not_asked_for_anew(polls):
    polls.poll(1)
    polls.away = {1: COMING}

    assert polls.aspired(1) == [1]


def test_nothing_is_unloaded_for_a_download_though_versions_need_not_be_present(polls):
    polls.always_present, polls.away = False, {1: COMING}

    assert polls.aspired(1) is None


@pytest.mark.parametrize("always_present", [True, False])
def test_a_version_that_is_coming_keeps_what_stands_whether_or_not_versions_must_be_present(
    polls, always_present
):
    polls.always_present = always_present
    polls.poll(1)
    polls.away = {2: COMING}

    assert polls.aspired(1, 2) == [1]


def test_the_last_version_stays_though_it_is_gone_while_its_successor_is_coming(polls):
    polls.poll(1)
    polls.away = {2: COMING}
    polls.poll(2)

    decision = polls.poll(2)

    assert decision.aspired is None
    assert decision.warnings == ()
    assert list(decision.state.aspired) == [1]
    assert [path.path for path in decision.wanted] == ["/base/2", "/base/1"]


def test_the_last_version_does_not_return_as_a_new_one_while_its_successor_is_coming(polls):
    polls.poll(1)
    polls.away = {2: COMING}
    for _ in range(3):
        polls.poll(2)
    polls.write(1, name="model.part")

    assert polls.aspired(1, 2) == [1]


# What has to be here…


def test_what_is_emitted_and_what_is_coming_has_to_be_here(polls):
    polls.policy = Latest(2)
    polls.poll(1, 2)
    polls.away = {3: COMING}

    assert polls.wanted(1, 2, 3, 4) == [1, 2, 3, 4]


def test_what_is_coming_comes_before_what_stands_newest_first(polls):
    polls.policy = Latest(2)
    polls.poll(1, 2)
    polls.away = {3: COMING, 4: COMING}

    paths = [path.path for path in polls.poll(1, 2, 3, 4).wanted]

    assert paths == ["/base/4", "/base/3", "/base/2", "/base/1"]


def test_what_is_coming_has_to_be_here_where_nothing_stands(polls):
    polls.away = {1: COMING, 2: COMING}

    assert polls.wanted(1, 2) == [2]


def test_what_stands_in_has_to_be_here_and_what_is_coming(polls):
    polls.away = {2: COMING}

    assert polls.wanted(1, 2) == [1, 2]


def test_what_has_been_replaced_need_not_be_here(polls):
    polls.poll(1)

    assert polls.wanted(1, 2) == [2]


def test_what_is_incomplete_or_not_chosen_need_not_be_here(polls):
    polls.write(3, name="model.part")

    assert polls.wanted(1, 2, 3) == [2]


def test_what_stands_though_nothing_is_found_has_to_be_here(polls):
    polls.poll(1)

    assert [polls.wanted(), polls.wanted(), polls.wanted()] == [[1], [1], [1]]


def test_nothing_has_to_be_here_once_everything_is_unloaded(polls):
    polls.always_present = False
    polls.poll(1)
    polls.poll()

    assert polls.wanted() == []


def test_a_repaired_version_that_is_not_loaded_is_aspired_once_it_is_here(polls):
    before = polls.poll(1).aspired
    polls.write(1, "repaired")
    polls.away = {1: COMING}
    meanwhile = polls.poll(1)
    polls.away = {}

    assert meanwhile.aspired == before
    assert [path.files["model"].tag for path in meanwhile.wanted] == ["repaired"]
    assert polls.poll(1).aspired[0].revision != before[0].revision


def test_nothing_stands_in_where_versions_of_another_place_serve(polls):
    polls.has_forerunner, polls.away = True, {2: COMING}

    assert polls.aspired(1, 2) is None
