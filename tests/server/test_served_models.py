"""What a configuration becomes, on tables in real directories."""

import gc
import time

import numpy as np
import pytest

from modelserver.config import ModelConfig, ModelList, ModelListFile, ServerConfig
from modelserver.core.servable import ServableRequest
from modelserver.errors import InvalidArgumentError, UnimplementedError
from modelserver.inference.batching_options import BatchingOptions
from modelserver.served_models import ServedModels

PATIENCE_SECONDS = 30


class Scene:
    def __init__(self, directory):
        self.directory = directory
        file = ModelListFile(directory / "config.json", lambda content: ModelList())
        self.served = ServedModels(ServerConfig(model_list_file=file, poll_wait_seconds=0.05))
        self.served.start()

    def table(self, name, *versions):
        for version in versions:
            directory = self.directory / name / str(version)
            directory.mkdir(parents=True)
            np.savez(directory / "table.npz", keys=np.array([b"a"]), values=np.array([1]))
        return str(self.directory / name)

    def apply(self, *models, poll_request=""):
        self.served.apply(ModelList(models, poll_request))

    def wait_for(self, name, version):
        request = ServableRequest.specific(name, version)
        monitor = self.served.manager.monitor
        assert monitor.wait_until_reached([request], timeout=PATIENCE_SECONDS).is_success

    def snapshot(self, name):
        return next(model for model in self.served.snapshots() if model.name == name)

    def servable(self, name):
        with self.served.manager.get_servable_handle(ServableRequest.latest(name)) as handle:
            return handle.servable


def eventually(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    assert scene.served.stop()


def model(name, base_path, **fields):
    return ModelConfig(name, base_path, "lookup", **fields)


def test_a_model_is_shown_as_it_is_configured_and_as_it_is(scene):
    base_path = scene.table("m", 1)
    scene.apply(model("m", base_path, version_labels={"stable": 1}, is_awaited=False))
    scene.wait_for("m", 1)

    found = scene.snapshot("m")

    assert (found.name, found.base_path, found.is_awaited) == ("m", base_path, False)
    assert found.source.is_accessible is True
    assert found.requested_labels == {"stable": 1}
    assert found.labels == {"stable": 1}
    assert found.states[1].is_available


def test_models_that_cannot_be_had_are_refused_by_themselves(scene):
    base_path = scene.table("m", 1)
    scene.apply(
        ModelConfig("strange", base_path, "onyx"),
        model("cloud", "nowhere://bucket/model"),
        model("m", base_path),
    )
    scene.wait_for("m", 1)

    eventually(lambda: all(m.source.is_accessible is not None for m in scene.served.snapshots()))
    errors = {model.name: model.source.error for model in scene.served.snapshots()}
    assert errors["m"] is None
    assert isinstance(errors["strange"], UnimplementedError)
    assert isinstance(errors["cloud"], UnimplementedError)


def test_a_model_that_becomes_impossible_keeps_what_it_has(scene):
    scene.apply(model("m", scene.table("m", 1)))
    scene.wait_for("m", 1)

    scene.apply(model("m", "nowhere://bucket/model"))

    eventually(lambda: scene.snapshot("m").source.is_accessible is False)
    assert scene.snapshot("m").is_available


def test_the_same_configuration_again_disturbs_nothing(scene):
    configured = model("m", scene.table("m", 1), ready_marker="table.npz")
    scene.apply(configured)
    scene.wait_for("m", 1)
    before = scene.servable("m"), scene.served._source._members["m"]

    scene.apply(configured)

    assert (scene.servable("m"), scene.served._source._members["m"]) == before


def test_batching_reaches_the_versions_that_are_loaded_and_those_to_come(scene):
    base_path = scene.table("m", 1)
    scene.apply(model("m", base_path))
    scene.wait_for("m", 1)
    loaded = scene.servable("m")

    batching = BatchingOptions(max_batch_size=7)
    scene.apply(model("m", base_path, batching=batching))
    scene.table("m", 2)
    scene.wait_for("m", 2)

    assert loaded._current._options == batching
    assert scene.servable("m")._current._options == batching


def test_a_platform_that_does_not_exist_is_told_at_once_where_the_models_are_fixed():
    models = (ModelConfig("m", "/m", "onyx"),)

    with pytest.raises(InvalidArgumentError, match="No platform is called 'onyx'"):
        ServedModels(ServerConfig(models=models))


def test_nothing_is_kept_of_models_that_have_gone(scene):
    base_path = scene.table("m", 1)
    stays = model("stays", scene.table("stays", 1))
    for number in range(5):
        batching = BatchingOptions(max_batch_size=8 + number, allowed_batch_sizes=(8 + number,))
        scene.apply(stays, model(f"m{number}", base_path, batching=batching))
        scene.wait_for(f"m{number}", 1)
    scene.apply(stays)
    eventually(lambda: len(scene.served.manager.list_available_servable_ids()) == 1)
    gc.collect()
    scene.apply(stays)

    served = scene.served
    assert (list(served._predictors), list(served._platform_of)) == (["stays"], ["stays"])
    assert list(served._platforms) == [("lookup", ())]


def test_a_base_path_that_is_no_address_is_refused_by_itself(scene):
    scene.apply(model("odd", "//[x"), model("stranger", "nowhere://[x"))

    eventually(lambda: all(m.source.is_accessible is False for m in scene.served.snapshots()))
    assert isinstance(scene.snapshot("stranger").source.error, UnimplementedError)
