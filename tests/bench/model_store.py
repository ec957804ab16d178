"""The models that are served, made once: a base path with version 1 for each, and sample rows with
the answers that numpy (or, for convolutions, Keras) gives.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from peers.environment import CACHE
from peers.servers import numpy_model

SAMPLES = 8
"""Rows that are sent, each with an answer of its own."""

_STORE = CACHE / "models-2"
"""The number changes when what is made changes."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model. `platform` is modelserver's: `numpy` is the benchmark's own plug-in. `widths` are
    the sizes of its dense layers, if it has such. `max_batch_size` is what servers are told.
    Versions are numbered from 1.
    """

    name: str
    title: str
    platform: str
    row_shape: tuple[int, ...] = (784,)
    widths: tuple[int, ...] = ()
    max_batch_size: int = 32
    version_count: int = 1
    input: str = "x"
    output: str = "y"

    @property
    def base_path(self) -> Path:
        """The directory of its numbered versions."""
        return _STORE / self.name

    @property
    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and the answers to them."""
        with np.load(self.base_path / "samples.npz") as file:
            return file["x"], file["y"]


_MLP = (1024, 1024, 1024, 10)
SOFTMAX = Model("softmax", "softmax 784→10, numpy", "numpy", widths=(10,))
MODELS = {
    model.name: model
    for model in (
        SOFTMAX,
        Model("mlp", "MLP 784-1024-1024-1024-10, numpy", "numpy", widths=_MLP, max_batch_size=128),
        Model("softmax-tf", "softmax 784→10, SavedModel", "tensorflow", widths=(10,)),
        Model(
            "mlp-tf",
            "MLP 784-1024-1024-1024-10, SavedModel",
            "tensorflow",
            widths=_MLP,
            max_batch_size=128,
        ),
        Model("mobilenet-tf", "MobileNetV2 0.35, 96×96, SavedModel", "tensorflow", (96, 96, 3)),
        Model("lookup", "embeddings, 100,000 × 64", "lookup", (), input="keys", output="values"),
    )
}


def wide(features: int) -> Model:
    """The model that costs nothing, with rows of any size."""
    return Model(f"first-10-of-{features}", f"{features:,} numbers", "numpy", (features,))


def of_versions(count: int) -> Model:
    """The softmax with so many versions, which are all the same."""
    return replace(SOFTMAX, name=f"softmax-{count}", version_count=count)


def make(model: Model) -> None:
    """Make a model unless it is there."""
    if (model.base_path / "samples.npz").exists():
        return
    print(f"Making the model {model.name}…", file=sys.stderr, flush=True)
    shutil.rmtree(model.base_path, ignore_errors=True)
    version = model.base_path / "1"
    version.mkdir(parents=True)
    if model.platform == "lookup":
        _make_table(model, version)
    elif model.widths or model.platform == "numpy":
        _make_layers(model, version)
    else:
        _export(model)
    for number in range(2, model.version_count + 1):
        shutil.copytree(version, model.base_path / str(number))


def _make_table(model: Model, version: Path) -> None:
    source = np.random.default_rng(1)
    keys = np.arange(100_000, dtype=np.int64) * 7
    values = source.random((len(keys), 64), np.float32)
    np.savez(version / "table.npz", keys=keys, values=values)
    rows = source.integers(0, len(keys), SAMPLES)
    np.savez(model.base_path / "samples.npz", x=keys[rows], y=values[rows])


def _make_layers(model: Model, version: Path) -> None:
    """Write weights and samples; a SavedModel of the same weights takes their place."""
    source = np.random.default_rng(1)
    weights = {
        f"w{number}": source.normal(0, 0.05, sizes).astype(np.float32)
        for number, sizes in enumerate(pairwise((*model.row_shape, *model.widths)))
        if model.widths
    }
    file = version / "model.npz"
    np.savez(file, **weights)  # type: ignore[arg-type]
    x = source.random((SAMPLES, *model.row_shape), np.float32)
    if model.platform == "tensorflow":
        weights_file = file.rename(model.base_path / file.name)
        _export(model)
        file = weights_file
    np.savez(model.base_path / "samples.npz", x=x, y=numpy_model.load(str(file))(x))


def _export(model: Model) -> None:
    """In a process of its own: TensorFlow takes seconds and memory."""
    script = Path(__file__).with_name("export_saved_model.py")
    subprocess.run([sys.executable, str(script), str(model.base_path)], check=True)
