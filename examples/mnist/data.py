"""The images that the tutorial trains and tests on: MNIST where it is at hand, else a stand-in.

The stand-in is scikit-learn's bundled digits, so the tutorial works without a network.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from mnist.idx import read_idx
from modelserver.errors import DataLossError, NotFoundError

IMAGE_SIZE = 28
"""Rows and columns of an image."""
NUM_PIXELS = IMAGE_SIZE * IMAGE_SIZE
NUM_LABELS = 10

_MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_HELD_OUT_DIGITS = 500


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """`images` is float32 of shape (n, 784), row-major 28x28 pixels from 0 to 1; `labels` is int64
    of shape (n,), the digits 0 to 9 that they show.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class DataSets:
    """`train` to learn from, `test` held out of the training. `source` names them to a person."""

    source: str
    train: LabelledImages
    test: LabelledImages

    def __str__(self) -> str:
        return f"{self.source}: {len(self.train)} images to train on, {len(self.test)} held out"


def read_data_sets(data_dir: Path | None) -> DataSets:
    """Read the MNIST files in `data_dir`, or give scikit-learn's digits if it is None or has none.

    Files may be gzipped (with `.gz` or without). The split into train and test is always the same.

    Raises:
        NotFoundError: `data_dir` does not exist, or has some of the four files but not all.
        DataLossError: a file is damaged, or images and labels do not fit together.

    """
    if data_dir is None:
        return _scikit_learn_digits("scikit-learn's digits, scaled to 28x28")
    if not data_dir.is_dir():
        raise NotFoundError(f"--data_dir={data_dir} is not a directory")
    if not any(_find(data_dir, name) for names in _MNIST_FILES.values() for name in names):
        return _scikit_learn_digits(
            f"scikit-learn's digits, scaled to 28x28 (no MNIST files in {data_dir})"
        )
    return DataSets(
        f"MNIST from {data_dir}", _read_mnist(data_dir, "train"), _read_mnist(data_dir, "test")
    )


def _find(data_dir: Path, name: str) -> Path | None:
    candidates = (data_dir / name, data_dir / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _read_mnist(data_dir: Path, part: str) -> LabelledImages:
    images_name, labels_name = _MNIST_FILES[part]
    images = _read_present(data_dir, images_name)
    labels = _read_present(data_dir, labels_name)
    if images.shape != (len(labels), IMAGE_SIZE, IMAGE_SIZE) or labels.ndim != 1 or not len(labels):
        raise DataLossError(
            f"{images_name} of shape {images.shape} and {labels_name} of shape {labels.shape} "
            f"in {data_dir} are not 28x28 images with a label each"
        )
    if labels.max() >= NUM_LABELS:
        raise DataLossError(f"{labels_name} in {data_dir} has a label {labels.max()}, not 0 to 9")
    pixels = images.reshape(-1, NUM_PIXELS).astype(np.float32) / 255
    return LabelledImages(pixels, labels.astype(np.int64))


def _read_present(data_dir: Path, name: str) -> np.ndarray:
    path = _find(data_dir, name)
    if path is None:
        raise NotFoundError(f"{data_dir} has MNIST files, but neither {name} nor {name}.gz")
    return read_idx(path)


def _scikit_learn_digits(source: str) -> DataSets:
    digits = load_digits()
    pixels = _scale_up(digits.images / 16).reshape(-1, NUM_PIXELS).astype(np.float32)
    labels = digits.target.astype(np.int64)
    # Evenly spread, because the images are ordered by the person who wrote them.
    is_test = np.zeros(len(labels), bool)
    is_test[np.arange(_HELD_OUT_DIGITS) * len(labels) // _HELD_OUT_DIGITS] = True
    return DataSets(
        source,
        LabelledImages(pixels[~is_test], labels[~is_test]),
        LabelledImages(pixels[is_test], labels[is_test]),
    )


def _scale_up(images: np.ndarray) -> np.ndarray:
    """Interpolate images of shape (n, k, k) bilinearly to (n, 28, 28)."""
    size = images.shape[1]
    centres = (np.arange(IMAGE_SIZE) + 0.5) * size / IMAGE_SIZE - 0.5
    distances = centres.clip(0, size - 1)[:, np.newaxis] - np.arange(size)
    weights = np.maximum(0, 1 - np.abs(distances))
    return np.asarray(weights @ images @ weights.T)
