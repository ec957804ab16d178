from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.ready_marker import ReadyMarker


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
