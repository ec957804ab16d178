"""The promises of Platform, kept by all that are here: a version is taken for complete only when it
is, whatever moment of its being copied a poll happens to see.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from modelserver.core import ServableId, StoragePath
from modelserver.inference import Platform
from modelserver.lookup import platform as lookup_platform
from modelserver.saved_model import platform as saved_model_platform
from modelserver.sources.storage.file_system import FileSystemStorage
from plugins.composite_model import platform as composite_platform
from plugins.independent_servables import MODEL, VOCABULARY
from plugins.linear_model import platform as linear_platform

CUTS_PER_FILE = 12


@dataclass(frozen=True)
class Kind:
    """A platform, and how to write a version for it."""

    platform: Platform
    write: Callable[[Path], None]


def write_npz(directory: Path) -> None:
    directory.mkdir()
    np.savez(directory / "table.npz", keys=np.arange(50), values=np.ones((50, 2)))


def write_csv(directory: Path) -> None:
    directory.mkdir()
    (directory / "table.csv").write_text("".join(f"key{n},{n},1\n" for n in range(20)))


def write_linear(directory: Path) -> None:
    directory.mkdir()
    (directory / "model.json").write_text('{"weights": [[1], [2]], "bias": [0.5]}')


def write_saved_model(directory: Path) -> None:
    """With variables, and a table that is filled from an asset."""
    import tensorflow as tf

    directory.parent.mkdir(exist_ok=True)
    words = directory.parent / "words.txt"
    words.write_text("a\nb\nc\n")

    class Model(tf.Module):
        def __init__(self) -> None:
            lines = tf.lookup.TextFileInitializer(
                str(words),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticHashTable(lines, -1)
            self.factor = tf.Variable(tf.ones([4], tf.int64))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
        def call(self, words):
            return {"rows": self.table.lookup(words)[:, None] * self.factor}

    module = Model()
    tf.saved_model.save(module, str(directory), signatures=module.call)
    words.unlink()


def write_composite(directory: Path) -> None:
    directory.mkdir()
    write_csv(directory / VOCABULARY)
    write_saved_model(directory / MODEL)


KINDS = {
    "lookup-npz": Kind(lookup_platform({}), write_npz),
    "lookup-csv": Kind(lookup_platform({}), write_csv),
    "linear": Kind(linear_platform({}), write_linear),
    "saved_model": Kind(saved_model_platform({"enable_model_warmup": False}), write_saved_model),
    "composite": Kind(composite_platform({"enable_model_warmup": False}), write_composite),
}
NEED_TENSORFLOW = {"saved_model", "composite"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.tensorflow if name in NEED_TENSORFLOW else ())
        for name in KINDS
    ],
)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def whole(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version as it was written. Read-only."""
    directory = tmp_path_factory.mktemp("whole") / "1"
    kind.write(directory)
    return directory


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of the version, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "1"))


def listing(directory: Path) -> StoragePath:
    storage = FileSystemStorage()
    return storage.locate(str(directory), storage.list_files(str(directory)))


def from_afar(directory: Path) -> StoragePath:
    """The version in `directory` as a bucket has it, which has not been copied anywhere yet."""
    return StoragePath(
        str(directory.parent / "not here"),
        listing(directory).files,
        "gs://bucket/m/1",
        lambda name: (directory / name).open("rb"),
    )


def loads(kind: Kind, directory: Path) -> bool:
    loader = kind.platform.make_loader(ServableId("m", 1), listing(directory))
    try:
        loader.load()
    except Exception:  # whatever it raises, the version does not serve
        return False
    loader.unload()
    return True


def truncations(directory: Path) -> Iterator[tuple[str, int]]:
    """Cut each file of the version short, in place, in several ways; yield its name and length."""
    for name, info in listing(directory).files.items():
        file = directory / name
        content = file.read_bytes()
        last = [info.size - 1, info.size - 2]
        for size in sorted({*np.linspace(0, info.size - 1, CUTS_PER_FILE, dtype=int), *last}):
            if size >= 0:
                file.write_bytes(content[:size])
                yield name, int(size)
        file.write_bytes(content)


def test_a_whole_version_is_complete_and_loads(kind: Kind, whole: Path) -> None:
    assert kind.platform.missing_files(listing(whole)) == []
    assert loads(kind, whole)


def test_a_version_cut_short_is_missing_something_or_must_settle_or_does_not_load(
    kind: Kind, copy: Path
) -> None:
    intact = {name: (copy / name).read_bytes() for name in listing(copy).files}
    needed = {name for name in intact if is_needed(kind, copy, name)}

    taken_for_whole = [
        (name, size)
        for name, size in truncations(copy)
        if name in needed
        and not kind.platform.must_settle(name)
        and not kind.platform.missing_files(listing(copy))
        and loads(kind, copy)
    ]

    assert needed
    assert taken_for_whole == []


def is_needed(kind: Kind, directory: Path, name: str) -> bool:
    """Whether the version does not load without that file; then what is in it matters."""
    aside = directory.parent / "aside"
    (directory / name).rename(aside)
    is_loading = loads(kind, directory)
    aside.rename(directory / name)
    return not is_loading


def test_a_version_whose_files_arrive_one_by_one_is_complete_only_when_it_loads(
    kind: Kind, whole: Path, tmp_path: Path
) -> None:
    growing = tmp_path / "1"
    growing.mkdir()
    for name in listing(whole).files:
        is_complete = not kind.platform.missing_files(listing(growing))
        assert not is_complete or loads(kind, growing), f"taken for complete before {name}"
        (growing / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(whole / name, growing / name)

    assert kind.platform.missing_files(listing(growing)) == []


def test_what_is_complete_is_told_from_afar_as_it_is_told_here(kind: Kind, copy: Path) -> None:
    assert kind.platform.missing_files(from_afar(copy)) == []

    differences = [
        (name, size, from_here, seen)
        for name, size in truncations(copy)
        if (from_here := kind.platform.missing_files(listing(copy)))
        != (seen := kind.platform.missing_files(from_afar(copy)))
    ]
    for name in listing(copy).files:
        (copy / name).unlink()
        from_here = kind.platform.missing_files(listing(copy))
        assert kind.platform.missing_files(from_afar(copy)) == from_here

    assert differences == []
    assert kind.platform.missing_files(from_afar(copy)) != []


def test_an_empty_directory_lacks_something_and_is_no_error(kind: Kind, tmp_path: Path) -> None:
    assert kind.platform.missing_files(listing(tmp_path)) != []


def test_a_directory_that_was_not_listed_lacks_something_and_is_no_error(
    kind: Kind, tmp_path: Path
) -> None:
    assert kind.platform.missing_files(StoragePath(str(tmp_path))) != []


@pytest.mark.parametrize("name", ["README.md", "deep/er/file", ""])
def test_any_name_may_be_asked_about(kind: Kind, name: str) -> None:
    assert kind.platform.must_settle(name) in {True, False}


def test_making_a_loader_reads_nothing(kind: Kind, tmp_path: Path) -> None:
    gone = StoragePath(str(tmp_path / "gone"))

    loader = kind.platform.make_loader(ServableId("m", 1), gone)

    assert loader is not None
    assert not (tmp_path / "gone").exists()
