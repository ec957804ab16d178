import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.sources.versions import (
    All,
    Latest,
    ServableVersionPolicy,
    Specific,
    index_children,
    parse_version,
    select_versions,
)


@pytest.mark.parametrize(
    ("name", "version"),
    [
        pytest.param("1", 1, id="number"),
        pytest.param("00000001", 1, id="leading-zeros"),
        pytest.param("1700000000", 1_700_000_000, id="timestamp"),
        pytest.param("-3", -3, id="negative"),
        pytest.param("+3", 3, id="plus"),
        pytest.param(" 3\t", 3, id="white-space-around"),
        pytest.param("9223372036854775807", 2**63 - 1, id="largest"),
        pytest.param("-9223372036854775808", -(2**63), id="smallest"),
        pytest.param("9223372036854775808", None, id="too-large"),
        pytest.param("-9223372036854775809", None, id="too-small"),
        pytest.param("", None, id="empty"),
        pytest.param("-", None, id="sign-only"),
        pytest.param("- 3", None, id="space-after-sign"),
        pytest.param("+-3", None, id="two-signs"),
        pytest.param("1.0", None, id="fraction"),
        pytest.param("1_000", None, id="underscore"),
        pytest.param("0x1", None, id="hexadecimal"),
        pytest.param("٣", None, id="other-digits"),
        pytest.param("\u00a03", None, id="other-space"),
        pytest.param("1.tmp", None, id="suffix"),
        pytest.param("assets", None, id="word"),
    ],
)
def test_a_directory_name_is_a_version_where_it_is_an_int64(name: str, version: int | None) -> None:
    assert parse_version(name) == version


def test_names_that_are_no_numbers_are_ignored_silently() -> None:
    index, warnings = index_children(["1", "non_numerical_child", "lost+found"], {})

    assert index == {1: "1"}
    assert warnings == []


def test_an_entry_is_cut_at_its_first_slash() -> None:
    index, warnings = index_children(["1/saved_model.pb", "1/variables/", "2/", "2"], {})

    assert index == {1: "1", 2: "2"}
    assert warnings == []


def test_of_two_names_of_one_number_the_lexicographically_later_wins_with_a_warning() -> None:
    index, warnings = index_children(["1", "001", "01"], {})

    assert index == {1: "1"}
    assert warnings == [
        "Duplicate version directories detected. Version 1 will be loaded from 1, "
        "001 will be ignored.",
        "Duplicate version directories detected. Version 1 will be loaded from 1, "
        "01 will be ignored.",
    ]


def test_a_second_name_of_a_number_does_not_displace_the_one_in_use() -> None:
    index, warnings = index_children(["1", "001"], {1: "001"})

    assert index == {1: "001"}
    assert len(warnings) == 1


def test_a_name_in_use_that_is_gone_gives_way() -> None:
    index, _ = index_children(["1"], {1: "001"})

    assert index == {1: "1"}


VERSIONS = [42, 33, 30, 21, 17]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param(Latest(), [42], id="latest"),
        pytest.param(Latest(0), [42], id="latest-unset-is-one"),
        pytest.param(Latest(3), [42, 33, 30], id="latest-three"),
        pytest.param(Latest(9), VERSIONS, id="latest-more-than-there-are"),
        pytest.param(All(), VERSIONS, id="all"),
        pytest.param(Specific(frozenset({17, 30})), [30, 17], id="specific"),
        pytest.param(Specific(frozenset({17, 99})), [17], id="specific-with-one-missing"),
        pytest.param(Specific(), [], id="specific-of-none"),
    ],
)
def test_a_policy_chooses_among_complete_versions(
    policy: ServableVersionPolicy, expected: list[int]
) -> None:
    assert select_versions(policy, reversed(VERSIONS), lambda _: True) == expected


def test_only_versions_that_would_be_aspired_are_asked_about() -> None:
    asked: list[int] = []

    def is_complete(version: int) -> bool:
        asked.append(version)
        return version != 42

    select_versions(Latest(2), VERSIONS, is_complete)

    assert asked == [42, 33, 30]


@given(
    versions=st.sets(st.integers(-(2**63), 2**63 - 1)),
    incomplete=st.sets(st.integers(-(2**63), 2**63 - 1)),
    count=st.integers(0, 5),
    data=st.data(),
)
def test_the_newest_n_of_the_complete_versions_are_chosen(
    versions: set[int], incomplete: set[int], count: int, data: st.DataObject
) -> None:
    broken = set(data.draw(st.lists(st.sampled_from(sorted(versions))))) if versions else set()
    complete = versions - incomplete - broken

    chosen = select_versions(Latest(count), versions, complete.__contains__)

    assert chosen == sorted(complete, reverse=True)[: max(count, 1)]


@given(
    policy=st.one_of(
        st.builds(Latest, st.integers(0, 4)),
        st.just(All()),
        st.builds(Specific, st.frozensets(st.integers(0, 9))),
    ),
    versions=st.sets(st.integers(0, 9)),
    complete=st.sets(st.integers(0, 9)),
)
def test_whatever_the_policy_only_complete_versions_are_aspired_newest_first(
    policy: ServableVersionPolicy, versions: set[int], complete: set[int]
) -> None:
    chosen = select_versions(policy, versions, complete.__contains__)

    assert set(chosen) <= versions & complete
    assert chosen == sorted(set(chosen), reverse=True)
