"""Complete exports are told from those that are still being copied, by their content."""

import random
import shutil

import pytest

from modelserver.core.servable import ServableId
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.errors import ServingError
from modelserver.saved_model import platform
from modelserver.saved_model.completeness import CompletenessCheck

pytestmark = pytest.mark.tensorflow

GRAPH = "saved_model.pb"
INDEX = "variables/variables.index"
SHARD = "variables/variables.data-00000-of-00001"

MODELS = [
    *("softmax", "tf1", "tf1_text", "tf1_without_variables", "keras", "keras_in_module"),
    *("convolutions", "table", "counter", "many_signatures"),
]


@pytest.fixture
def copy(export, tmp_path):
    """A copy of a model that the test may damage."""
    return lambda model: shutil.copytree(export(model), tmp_path / model)


@pytest.mark.parametrize("model", MODELS)
def test_a_whole_export_is_complete(export, list_files, model):
    missing = platform({}).missing_files(list_files(export(model)))

    assert missing == []


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("softmax", GRAPH),
        ("softmax", INDEX),
        ("softmax", SHARD),
        ("tf1_without_variables", GRAPH),
        ("tf1_text", INDEX),
        ("table", "assets/colors.txt"),
    ],
)
def test_a_file_that_is_not_there_is_named(copy, list_files, model, name):
    path = copy(model)
    (path / name).unlink()

    missing = platform({}).missing_files(list_files(path))

    assert missing == [name]


def test_an_index_is_needed_where_there_are_no_variables_because_the_model_does_not_load_without(
    copy, list_files
):
    path = copy("many_signatures")
    whole = list_files(path)
    shutil.rmtree(path / "variables")
    loader = platform({}).make_loader(ServableId("model", 1), whole)

    missing = platform({}).missing_files(list_files(path))

    assert missing == [INDEX]
    with pytest.raises(ServingError):
        loader.load()


def test_a_graph_is_waited_for_before_the_rest(copy, list_files):
    path = copy("softmax")
    shutil.rmtree(path / "variables")
    (path / GRAPH).unlink()

    missing = platform({}).missing_files(list_files(path))

    assert missing == [GRAPH]


@pytest.mark.parametrize(
    ("model", "name"), [("softmax", GRAPH), ("softmax", INDEX), ("tf1_text", "saved_model.pbtxt")]
)
def test_an_empty_file_is_truncated(copy, list_files, model, name):
    path = copy(model)
    (path / name).write_bytes(b"")

    missing = platform({}).missing_files(list_files(path))

    assert missing == [f"{name} (truncated)"]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *((model, GRAPH) for model in MODELS if model != "tf1_text"),
        *((model, INDEX) for model in MODELS if model != "tf1_without_variables"),
        ("tf1_text", "saved_model.pbtxt"),
    ],
)
def test_every_truncation_of_graph_and_index_is_told(export, list_files, tmp_path, model, name):
    whole = export(model) / name
    path = shutil.copytree(export(model), tmp_path / model)
    content = whole.read_bytes().rstrip(b"\n")
    random_lengths = random.Random(7).sample(range(len(content)), min(100, len(content)))

    for length in {*range(10), *random_lengths, len(content) - 1}:
        (path / name).write_bytes(content[:length])

        missing = platform({}).missing_files(list_files(path))

        assert missing == [f"{name} (truncated)"], length


def test_every_truncation_of_the_weights_is_told_with_its_size(export, list_files):
    whole = list_files(export("softmax"))
    size = whole.files[SHARD].size
    check = CompletenessCheck()

    for length in random.Random(7).sample(range(size), 100):
        files = {**whole.files, SHARD: FileInfo(length)}

        missing = check.missing_files(StoragePath(whole.path, files))

        assert missing == [f"{SHARD} ({length} of {size} bytes)"]


def test_a_file_of_full_length_that_is_not_filled_yet_is_truncated(copy, list_files):
    path = copy("softmax")
    for name in (GRAPH, INDEX):
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))

    missing = platform({}).missing_files(list_files(path))

    assert missing == [f"{GRAPH} (truncated)"]


def test_a_polled_version_is_complete_once_its_last_file_has_grown(copy, list_files):
    path = copy("softmax")
    content = (path / INDEX).read_bytes()
    (path / INDEX).write_bytes(content[:-1])
    check = CompletenessCheck()
    first = check.missing_files(list_files(path))

    (path / INDEX).write_bytes(content)
    second = check.missing_files(list_files(path))

    assert first == [f"{INDEX} (truncated)"]
    assert second == []


def test_while_a_shard_is_waited_for_the_other_files_are_read_once(copy, list_files):
    path = copy("softmax")
    (path / SHARD).unlink()
    listing = list_files(path)
    check = CompletenessCheck()
    check.missing_files(listing)
    shutil.rmtree(path)

    missing = check.missing_files(listing)

    assert missing == [SHARD]


def test_an_overwritten_file_is_read_again(copy, list_files):
    path = copy("softmax")
    check = CompletenessCheck()
    check.missing_files(list_files(path))
    content = (path / GRAPH).read_bytes()
    (path / GRAPH).write_bytes(b"\0" * len(content))

    missing = check.missing_files(list_files(path))

    assert missing == [f"{GRAPH} (truncated)"]


def test_a_file_that_vanishes_between_listing_and_reading_is_an_error_with_its_name(
    copy, list_files
):
    path = copy("softmax")
    listing = list_files(path)
    shutil.rmtree(path)

    with pytest.raises(FileNotFoundError, match=GRAPH):
        platform({}).missing_files(listing)
