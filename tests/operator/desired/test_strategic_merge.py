"""Merging a user's part of a pod template into ours."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver_operator.desired.strategic_merge import strategic_merge
from modelserver_operator.json_types import JsonObject

CASES = [
    pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="a new field is added"),
    pytest.param({"a": 1}, {"a": 2}, {"a": 2}, id="a scalar is replaced"),
    pytest.param({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}, id="maps are merged"),
    pytest.param({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {}}, id="a null removes"),
    pytest.param({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}, id="a null in a new map is void"),
    pytest.param({"args": [1, 2]}, {"args": [3]}, {"args": [3]}, id="atomic lists are replaced"),
    pytest.param(
        {"containers": [{"name": "a", "image": "x", "args": [1]}, {"name": "b"}]},
        {"containers": [{"name": "c"}, {"name": "a", "image": "y"}]},
        {"containers": [{"name": "a", "image": "y", "args": [1]}, {"name": "b"}, {"name": "c"}]},
        id="containers are merged by name, and new ones come last",
    ),
    pytest.param(
        {"volumeMounts": [{"mountPath": "/a", "name": "x"}]},
        {"volumeMounts": [{"mountPath": "/a", "subPath": "s"}, {"mountPath": "/b", "name": "x"}]},
        {
            "volumeMounts": [
                {"mountPath": "/a", "name": "x", "subPath": "s"},
                {"mountPath": "/b", "name": "x"},
            ]
        },
        id="mounts are merged by path",
    ),
    pytest.param(
        {"ports": [{"containerPort": 1, "name": "a"}]},
        {"ports": [{"containerPort": 1, "hostIP": "x"}]},
        {"ports": [{"containerPort": 1, "name": "a", "hostIP": "x"}]},
        id="ports are merged by number",
    ),
    pytest.param(
        {"containers": [{"name": "a"}]},
        {"containers": [{"image": "nameless"}]},
        {"containers": [{"name": "a"}, {"image": "nameless"}]},
        id="what has no key is left to the API server to refuse",
    ),
    pytest.param(
        {"containers": [{"name": "a"}]},
        {"containers": "nonsense"},
        {"containers": "nonsense"},
        id="what is no list is left to the API server to refuse",
    ),
    pytest.param(
        {"containers": [{"name": "a"}]},
        {"containers": ["nonsense"]},
        {"containers": ["nonsense"]},
        id="what are no maps is left to the API server to refuse",
    ),
]


@pytest.mark.parametrize(("base", "patch", "merged"), CASES)
def test_merging(base: JsonObject, patch: JsonObject, merged: JsonObject) -> None:
    given_base, given_patch = copy.deepcopy(base), copy.deepcopy(patch)

    assert strategic_merge(base, patch) == merged
    assert (base, patch) == (given_base, given_patch)


ITEMS = st.lists(
    st.builds(
        lambda name, rest: {"name": name, **rest},
        st.sampled_from("abc"),
        st.dictionaries(st.sampled_from(["image", "args"]), st.integers(0, 3)),
    ),
    max_size=3,
    unique_by=lambda item: str(item["name"]),
)
VALUES = st.integers(0, 3) | st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 3))
OBJECTS = st.fixed_dictionaries(
    {}, optional={"containers": ITEMS, "a": VALUES, "tolerations": st.lists(st.integers())}
)


@settings(deadline=None)
@given(OBJECTS, OBJECTS)
def test_merging_twice_is_merging_once(base: JsonObject, patch: JsonObject) -> None:
    once = strategic_merge(base, patch)

    assert strategic_merge(once, patch) == once


@settings(deadline=None)
@given(OBJECTS)
def test_merging_nothing_changes_nothing(base: JsonObject) -> None:
    assert strategic_merge(base, {}) == base
