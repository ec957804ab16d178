"""A marker, then a manifest, then the platform: in this order a version is asked."""

import io

import pytest

from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.ready_marker import ReadyMarker, missing_files_of, nothing_settles
from modelserver.upload_manifest import MANIFEST


def listing(*names):
    return StoragePath("/m/1", {name: FileInfo(1) for name in names})


def missing_weights(path):
    return [] if "weights" in path.files else ["weights"]


def test_nothing_else_is_asked_before_the_marker_is_there():
    marker = ReadyMarker("_SUCCESS", missing_weights)

    assert marker(listing("weights")) == ["_SUCCESS (ready marker)"]


def test_with_the_marker_the_platform_has_its_say():
    marker = ReadyMarker("_SUCCESS", missing_weights)

    assert marker(listing("_SUCCESS")) == ["weights"]
    assert marker(listing("_SUCCESS", "weights")) == []


def test_two_of_the_same_are_equal_so_that_a_model_that_has_not_changed_is_left_alone():
    assert ReadyMarker("a", missing_weights) == ReadyMarker("a", missing_weights)
    assert ReadyMarker("a", missing_weights) != ReadyMarker("b", missing_weights)


class Platform:
    """Wants weights."""

    def missing_files(self, path):
        return missing_weights(path)


def version(*names):
    """A version whose manifest states a graph."""
    content = b'{"files": {"graph": {"size": 1}}}'
    files = {name: FileInfo(1) for name in names} | {MANIFEST: FileInfo(len(content))}
    return StoragePath("/m/1", files, "gs://b/m/1", lambda name: io.BytesIO(content))


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ([], ["_SUCCESS (ready marker)"]),
        (["graph", "weights"], ["_SUCCESS (ready marker)"]),
        (["_SUCCESS"], ["graph"]),
        (["_SUCCESS", "graph"], ["weights"]),
        (["_SUCCESS", "graph", "weights"], []),
    ],
)
def test_the_marker_is_asked_for_first_then_the_manifest_then_the_platform(names, missing):
    assert missing_files_of(Platform(), "_SUCCESS")(version(*names)) == missing


def test_without_a_marker_the_manifest_is_heeded_all_the_same():
    assert missing_files_of(Platform())(version()) == ["graph"]
    assert missing_files_of(Platform())(version("graph")) == ["weights"]
    assert missing_files_of(Platform())(listing()) == ["weights"]


@pytest.mark.parametrize("marker", ["", "_SUCCESS"])
def test_the_same_model_has_the_same_check(marker):
    platform = Platform()

    assert missing_files_of(platform, marker) == missing_files_of(platform, marker)
    assert missing_files_of(platform, marker) != missing_files_of(platform, "other")
    assert missing_files_of(platform, marker) != missing_files_of(Platform(), marker)


def test_where_there_is_a_marker_nothing_needs_to_settle():
    assert not nothing_settles("words.csv")
