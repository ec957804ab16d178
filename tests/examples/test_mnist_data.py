"""Which images the tutorial uses, and that the split into training and test never moves."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from mnist.data import DataSets, read_data_sets
from modelserver.errors import DataLossError, NotFoundError

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder: Path, suffix: str = "") -> None:
    """Three training images of brightness 0, 51 and 102 and two test images of 255."""
    train = np.repeat(np.uint8([0, 51, 102]), 784).reshape(3, 28, 28)
    write_idx(folder / (TRAIN_IMAGES + suffix), train)
    write_idx(folder / (TRAIN_LABELS + suffix), np.uint8([7, 8, 9]))
    write_idx(folder / (TEST_IMAGES + suffix), np.full((2, 28, 28), 255, np.uint8))
    write_idx(folder / (TEST_LABELS + suffix), np.uint8([1, 2]))


@pytest.fixture(scope="module")
def digits() -> DataSets:
    return read_data_sets(None)


def test_the_digits_are_split_into_1297_for_training_and_500_held_out(digits: DataSets) -> None:
    assert digits.train.images.shape == (1297, 784)
    assert digits.test.images.shape == (500, 784)
    assert str(digits) == (
        "scikit-learn's digits, scaled to 28x28: 1297 images to train on, 500 held out"
    )


def test_the_split_is_fixed(digits: DataSets) -> None:
    first = [0, 3, 7, 0, 4, 7, 1, 5, 8, 5, 5, 9, 7, 5, 2, 8, 2, 7, 4, 4]
    assert digits.test.labels[:20].tolist() == first
    assert np.bincount(digits.test.labels).tolist() == [59, 49, 49, 42, 57, 47, 40, 64, 47, 46]


def test_no_held_out_image_is_trained_on(digits: DataSets) -> None:
    trained_on = {image.tobytes() for image in digits.train.images}

    assert not [image for image in digits.test.images if image.tobytes() in trained_on]


def test_pixels_are_between_0_and_1_and_labels_are_digits(digits: DataSets) -> None:
    images = np.concatenate([digits.train.images, digits.test.images])

    assert images.dtype == np.float32
    assert images.min() == 0
    assert 0.9 < images.max() <= 1
    assert set(digits.train.labels.tolist()) == set(digits.test.labels.tolist()) == set(range(10))


def test_scaling_up_keeps_the_brightness_of_an_image(digits: DataSets) -> None:
    from sklearn.datasets import load_digits

    original = load_digits().images[0] / 16

    scaled = digits.test.images[0].reshape(28, 28)

    assert scaled.mean() == pytest.approx(original.mean(), rel=0.02)
    assert scaled[0, 0] == pytest.approx(original[0, 0])
    assert scaled[27, 27] == pytest.approx(original[7, 7])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_used_where_its_files_are(tmp_path: Path, suffix: str) -> None:
    write_mnist(tmp_path, suffix)

    data = read_data_sets(tmp_path)

    assert str(data) == f"MNIST from {tmp_path}: 3 images to train on, 2 held out"
    np.testing.assert_allclose(data.train.images.mean(axis=1), [0, 0.2, 0.4], rtol=1e-6)
    assert data.train.labels.tolist() == [7, 8, 9]
    assert data.test.images.shape == (2, 784)
    assert data.test.images.max() == 1
    assert data.test.labels.tolist() == [1, 2]


def test_a_directory_without_mnist_gives_the_digits_and_says_so(tmp_path: Path) -> None:
    data = read_data_sets(tmp_path)

    assert f"(no MNIST files in {tmp_path})" in str(data)
    assert len(data.test) == 500


def test_a_data_dir_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="absent is not a directory"):
        read_data_sets(tmp_path / "absent")


def test_some_mnist_files_without_the_others_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / TEST_LABELS).unlink()

    with pytest.raises(NotFoundError, match=f"neither {TEST_LABELS} nor {TEST_LABELS}.gz"):
        read_data_sets(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (TRAIN_IMAGES, np.zeros((3, 27, 28), np.uint8), "not 28x28 images with a label each"),
        (TRAIN_IMAGES, np.zeros((2, 28, 28), np.uint8), "not 28x28 images with a label each"),
        (TRAIN_LABELS, np.zeros((3, 1), np.uint8), "not 28x28 images with a label each"),
        (TEST_LABELS, np.uint8([1, 10]), "has a label 10, not 0 to 9"),
    ],
)
def test_mnist_files_that_do_not_fit_together_are_refused(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / name, array)

    with pytest.raises(DataLossError, match=message):
        read_data_sets(tmp_path)


def test_mnist_files_without_an_image_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / TRAIN_IMAGES, np.zeros((0, 28, 28), np.uint8))
    write_idx(tmp_path / TRAIN_LABELS, np.zeros(0, np.uint8))

    with pytest.raises(DataLossError, match="not 28x28 images with a label each"):
        read_data_sets(tmp_path)
