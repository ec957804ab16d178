"""What is found under a base path, on a storage in memory."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.core.storage_path import FileInfo
from modelserver.errors import NotFoundError, PermissionDeniedError
from modelserver.sources.versions import index_children
from modelserver.testing.storage import MemoryStorage
from modelserver.tools.survey import (
    Condition,
    FoundVersion,
    Survey,
    number_of,
    sort_children,
)

PATIENCE_SECONDS = 20


def missing_files(path):
    return [] if "model" in path.files else ["model"]


@pytest.fixture
def storage():
    storage = MemoryStorage()
    storage.make_directory("/m")
    return storage


def conditions(found):
    return {version.number: str(version.condition) for version in found}


def survey_all(storage, check=missing_files):
    survey = Survey(storage, check)
    return survey.look_at_all("/m", survey.children("/m"))


def test_versions_come_newest_first_with_what_the_server_would_make_of_them(storage):
    storage.write("/m/9/model", 4)
    storage.write("/m/9/extra", 3)
    storage.write("/m/10/extra", 5)
    storage.make_directory("/m/1")

    found = survey_all(storage)

    assert [version.number for version in found] == [10, 9, 1]
    assert conditions(found) == {10: "incomplete", 9: "complete", 1: "incomplete"}
    assert [(len(version.files), version.size) for version in found] == [(1, 5), (2, 7), (0, 0)]
    assert [version.missing for version in found] == [("model",), (), ("model",)]


def test_a_version_that_cannot_be_listed_is_unreadable_and_says_why(storage):
    storage.write("/m/1/model")
    storage.write("/m/2/model")
    storage.fail("/m/2", PermissionDeniedError("/m/2; Permission denied"))

    unreadable, complete = survey_all(storage)

    assert unreadable.condition is Condition.UNREADABLE
    assert unreadable.missing == ("/m/2; Permission denied",)
    assert unreadable.path is None
    assert complete.condition is Condition.COMPLETE


def test_a_platform_that_fails_on_a_version_makes_it_unreadable_with_its_files_known(storage):
    storage.write("/m/1/model", 4)

    def fail(path):
        raise ZeroDivisionError("the plug-in's bug")

    (found,) = survey_all(storage, fail)

    assert found.condition is Condition.UNREADABLE
    assert found.missing == ("ZeroDivisionError: the plug-in's bug",)
    assert found.size == 4


def test_versions_are_looked_at_at_the_same_time(storage):
    both = threading.Barrier(2)
    storage.write("/m/1/model")
    storage.write("/m/2/model")

    def wait(path):
        both.wait(PATIENCE_SECONDS)
        return []

    assert conditions(survey_all(storage, wait)) == {2: "complete", 1: "complete"}


def test_the_newest_complete_version_is_looked_for_from_above_and_no_further_than_must(storage):
    for version in (1, 2, 4):
        storage.write(f"/m/{version}/model")
    storage.make_directory("/m/5")
    survey = Survey(storage, missing_files)

    found = list(survey.newest_complete("/m", survey.children("/m")))

    assert conditions(found) == {5: "incomplete", 4: "complete"}
    assert "/m/2" not in storage.list_calls


def test_a_base_path_that_cannot_be_listed_is_an_error(storage):
    with pytest.raises(NotFoundError, match=r"^/gone not found$"):
        Survey(storage, missing_files).children("/gone")


@pytest.mark.parametrize(
    ("uri", "names", "expected"),
    [
        pytest.param("gs://b/m/3", ["saved_model.pb", "variables/index"], 3, id="files"),
        pytest.param("/m/00000003", ["saved_model.pb"], 3, id="eight-digits"),
        pytest.param("/m/3", ["vocabulary/t.csv", "model/saved_model.pb"], 3, id="only-folders"),
        pytest.param("/m/3", [], 3, id="empty"),
        pytest.param("/models/2024", ["1/saved_model.pb", "2/saved_model.pb"], None, id="base"),
        pytest.param("/models/2024", ["1/saved_model.pb", "tmp/x"], None, id="base-and-more"),
        pytest.param("/m/3", ["0/shard", "index"], 3, id="numbered-shards"),
        pytest.param("/models/m", ["saved_model.pb"], None, id="no-number"),
    ],
)
def test_a_version_is_told_from_a_base_path(uri, names, expected):
    assert number_of(uri, {name: FileInfo(1) for name in names}) == expected


def test_what_is_no_number_is_not_listed_to_find_out(storage):
    storage.write("/m/1/model")

    assert Survey(storage, missing_files).number_of("/m") is None
    assert "/m" not in storage.list_calls


def test_other_names_and_second_spellings_are_ignored_in_the_server_s_words():
    children = sort_children(["1", "tmp", "01", "001", "2"])

    assert children.versions == {2: "2", 1: "1"}
    assert children.ignored == {
        "tmp": "tmp is no version: its name is not a number",
        "01": "Duplicate version directories detected. Version 1 will be loaded from 1, 01 will "
        "be ignored.",
        "001": "Duplicate version directories detected. Version 1 will be loaded from 1, 001 will "
        "be ignored.",
    }


names = st.lists(st.text("019+- x", min_size=1, max_size=3), unique=True)


@given(names)
def test_every_name_is_a_version_or_ignored_and_versions_are_those_of_the_server(children):
    index, warnings = index_children(children, {})

    found = sort_children(children)

    assert found.versions == index
    assert list(found.versions) == sorted(index, reverse=True)
    assert {*found.versions.values(), *found.ignored} == {*children}
    assert len(found.versions) + len(found.ignored) == len(children)
    assert {*warnings} <= {*found.ignored.values()}


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, "f0"), (5, "f0, f1, f2, f3, f4"), (7, "f0, f1, f2, f3, f4 and 2 more")],
)
def test_what_is_missing_is_said_in_a_few_words(count, expected):
    missing = tuple(f"f{n}" for n in range(count))

    assert FoundVersion(1, "/m/1", Condition.INCOMPLETE, None, missing).lacks() == expected
