"""The platform: options, entry point, and no TensorFlow before the first load."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from modelserver.core.servable import ServableData, ServableId
from modelserver.core.storage_path import StoragePath
from modelserver.errors import FailedPreconditionError, InvalidArgumentError
from modelserver.saved_model import (
    SavedModelLoader,
    SavedModelOptions,
    platform,
    saved_model_source_adapter,
)


def test_it_is_the_platform_named_tensorflow():
    (entry,) = entry_points(group="modelserver.platforms", name="tensorflow")

    assert entry.load() is platform


def test_discovering_versions_does_not_import_tensorflow(tmp_path):
    program = f"""
import sys
from modelserver.core.servable import ServableId
from modelserver.core.storage_path import StoragePath
from modelserver.saved_model import platform

made = platform({{}})
made.missing_files(StoragePath({str(tmp_path)!r}))
made.make_loader(ServableId("model", 1), StoragePath({str(tmp_path)!r}))
heavy = {{"tensorflow", "keras", "tensorflow_serving"}} & sys.modules.keys()
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""

    finished = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )

    assert finished.returncode == 0, finished.stderr


def test_a_directory_that_was_not_listed_lacks_its_graph():
    assert platform({}).missing_files(StoragePath("/nowhere")) == ["saved_model.pb"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("assets/vocabulary.txt", True, id="asset"),
        pytest.param("assets.extra/requests", True, id="extra asset"),
        pytest.param("saved_model.pbtxt", True, id="graph in text form"),
        pytest.param("saved_model.pb", False, id="graph"),
        pytest.param("variables/variables.index", False, id="index"),
        pytest.param("assets_of_another_kind.txt", False, id="not read"),
    ],
)
def test_what_nothing_checks_must_settle(name, expected):
    assert platform({}).must_settle(name) is expected


def test_options_are_picked_by_name_and_unknown_ones_ignored():
    options = SavedModelOptions.from_mapping(
        {"saved_model_tags": "serve,gpu", "warmup_batch_sizes": [1, 8], "other": "ignored"}
    )

    assert options == SavedModelOptions(
        saved_model_tags=("serve", "gpu"), warmup_batch_sizes=(1, 8)
    )


def test_a_gpu_memory_fraction_above_one_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"must be between 0 and 1, got 1\.5"):
        platform({"per_process_gpu_memory_fraction": 1.5})


def test_the_source_adapter_makes_a_loader_of_each_version():
    aspired = []
    adapter = saved_model_source_adapter()
    adapter.set_aspired_versions_callback(lambda name, versions: aspired.extend(versions))
    id = ServableId("model", 7)

    adapter("model", [ServableData(id, StoragePath("/models/model/7"))])

    assert [data.id for data in aspired] == [id]
    assert isinstance(aspired[0].data, SavedModelLoader)


def test_a_loader_that_never_loaded_has_no_servable():
    loader = SavedModelLoader(ServableId("model", 7), "/nowhere", SavedModelOptions())

    with pytest.raises(FailedPreconditionError, match="version: 7} is not loaded"):
        loader.servable()
