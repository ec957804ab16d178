import os
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from modelserver.core.servable import ServableId
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.errors import DataLossError, FailedPreconditionError, InvalidArgumentError
from modelserver.inference import DEFAULT_SIGNATURE
from modelserver.lookup import LookupPlatform, platform
from modelserver.lookup.platform import LookupLoader
from modelserver.sources import MonitoredServable
from modelserver.sources.decision import PollState, Snapshot, decide
from modelserver.sources.storage.file_system import FileSystemStorage


def listing(folder: Path) -> StoragePath:
    return StoragePath(str(folder), FileSystemStorage().list_files(str(folder)))


def loader(folder: Path) -> LookupLoader:
    return LookupPlatform().make_loader(ServableId("words", 1), StoragePath(str(folder)))


def test_the_platform_is_found_by_its_entry_point() -> None:
    (entry_point,) = entry_points(group="modelserver.platforms", name="lookup")

    assert isinstance(entry_point.load()({}), LookupPlatform)


def test_a_directory_with_one_whole_table_is_complete(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.tsv").write_text("a\nb\n")
    (tmp_path / "README.md").write_text("about it")

    assert platform({}).missing_files(listing(tmp_path)) == []


def test_a_directory_without_a_table_lacks_one(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about it")

    assert platform({}).missing_files(listing(tmp_path)) == ["a .npz, .csv or .tsv file"]


def test_a_half_written_table_lacks_its_rest(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole", keys=np.arange(100))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "whole.npz").write_bytes(content[:-1])

    assert platform({}).missing_files(listing(tmp_path)) == ["the rest of whole.npz"]


@pytest.mark.parametrize("name", ["words.csv", "words.tsv", "words.npz"])
def test_an_empty_file_lacks_its_rest(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()

    assert platform({}).missing_files(listing(tmp_path)) == [f"the rest of {name}"]


def test_a_text_may_end_anywhere_and_therefore_must_settle(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.tsv").write_text("a\nb")
    names = ["t.csv", "t.tsv", "t.npz", "README.md", "old/t.csv"]

    assert platform({}).missing_files(listing(tmp_path)) == []
    assert [name for name in names if platform({}).must_settle(name)] == ["t.csv", "t.tsv"]


def test_a_half_copied_text_is_not_aspired_before_it_has_kept_still(tmp_path: Path) -> None:
    words = tmp_path / "1" / "words.csv"
    words.parent.mkdir()
    tables = platform({})
    servable = MonitoredServable(
        "words", str(tmp_path), tables.missing_files, must_settle=tables.must_settle
    )
    state = PollState()
    held_back = []
    for poll, content in enumerate(["a\nb\n", "a\nb\nc\n", "a\nb\nc\nd"]):
        words.write_text(content)
        os.utime(words, (poll, poll))
        snapshot = Snapshot(["1"], lambda _: listing(words.parent), float(poll), poll + 0.5)
        decision = decide(servable, snapshot, state)
        state = decision.state
        held_back.append(decision.held_back)

    snapshot = Snapshot(["1"], lambda _: listing(words.parent), 3.0, 3.5)
    settled = decide(servable, snapshot, state)

    assert held_back == [{1: HeldBack("waiting for upload: words.csv (still changing)")}] * 3
    assert settled.aspired is not None
    assert [data.id.version for data in settled.aspired] == [1]


def test_a_text_without_a_newline_at_its_end_loads(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,1\nb,2")
    words = loader(tmp_path)
    words.load()

    outputs = words.servable().predict(
        DEFAULT_SIGNATURE, {"keys": np.array([b"b"], object)}, ["values"]
    )

    assert outputs["values"].tolist() == [[2.0]]


def test_two_tables_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a\n")
    (tmp_path / "b.csv").write_text("b\n")

    assert platform({}).missing_files(listing(tmp_path)) == [
        "one table file instead of a.tsv, b.csv"
    ]
    with pytest.raises(InvalidArgumentError, match="needs exactly one"):
        loader(tmp_path).load()


def test_a_loaded_table_is_a_predictor_that_can_be_batched(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", keys=np.array(["a", "b"]), values=np.eye(2, dtype=np.float32))
    words = loader(tmp_path)

    words.load()
    signature = words.servable().signatures[DEFAULT_SIGNATURE]

    assert signature.is_batchable
    assert signature.inputs["keys"].dtype == np.dtype(object)
    assert signature.outputs["values"].shape == (None, 2)
    assert signature.outputs["values"].dtype == np.float32
    assert signature.outputs["found"].dtype == np.dtype(bool)


def test_integer_keys_make_an_int64_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", keys=np.array([3, 5], np.int32))
    words = loader(tmp_path)

    words.load()
    signature = words.servable().signatures[DEFAULT_SIGNATURE]

    assert signature.inputs["keys"].dtype == np.int64
    assert signature.outputs["values"].shape == (None,)


def test_a_prediction_gives_values_and_says_which_keys_were_found(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,1,2\nb,3,4\n")
    words = loader(tmp_path)
    words.load()

    outputs = words.servable().predict(
        DEFAULT_SIGNATURE, {"keys": np.array([b"b", b"?"], object)}, ["values", "found"]
    )

    assert list(outputs) == ["values", "found"]
    assert outputs["values"].tolist() == [[3.0, 4.0], [0.0, 0.0]]
    assert outputs["found"].tolist() == [True, False]


def test_only_the_outputs_asked_for_are_given(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,1\n")
    words = loader(tmp_path)
    words.load()

    outputs = words.servable().predict(
        DEFAULT_SIGNATURE, {"keys": np.array([b"a"], object)}, ["found"]
    )

    assert list(outputs) == ["found"]


def test_a_load_that_failed_can_be_repeated(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", keys=np.array([1]))
    content = (tmp_path / "t.npz").read_bytes()
    (tmp_path / "t.npz").write_bytes(content[:-1])
    words = loader(tmp_path)
    with pytest.raises(DataLossError):
        words.load()

    (tmp_path / "t.npz").write_bytes(content)
    words.load()

    assert words.servable().signatures.keys() == {DEFAULT_SIGNATURE}


def test_an_unloaded_table_is_not_handed_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,1\n")
    words = loader(tmp_path)
    words.load()

    words.unload()

    with pytest.raises(FailedPreconditionError, match="is not loaded"):
        words.servable()


def test_making_a_loader_reads_nothing() -> None:
    made = LookupPlatform().make_loader(ServableId("words", 1), StoragePath(os.devnull + "/none"))

    assert isinstance(made, LookupLoader)
