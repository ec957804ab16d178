"""mnist_export for real: the model that it trains and the SavedModel that it leaves behind."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnist.data import read_data_sets
from modelserver import cli
from testcluster.gcs_emulator import GcsEmulator

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The export directory after one run of the command, and what the command printed."""
    folder = tmp_path_factory.mktemp("exported") / "mnist_model"
    command = [sys.executable, "-m", "mnist.export", "--training_iteration=100", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    return folder, ran.stdout


def test_progress_and_the_held_out_error_rate_are_printed(exported: tuple[Path, str]) -> None:
    folder, output = exported

    losses = [float(loss) for loss in re.findall(r"iteration \d+: loss ([\d.]+)", output)]
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    error_rate = re.search(r"Held-out error rate: ([\d.]+)%", output)
    assert error_rate is not None
    assert 8 < float(error_rate[1]) < 16
    assert output.endswith(f"Exporting trained model to {folder}/00000001\nDone exporting!\n")


def test_only_the_version_is_left_in_the_export_dir(exported: tuple[Path, str]) -> None:
    folder, _ = exported

    assert [child.name for child in folder.iterdir()] == ["00000001"]
    assert (folder / "00000001" / "saved_model.pb").is_file()
    assert (folder / "00000001").stat().st_mode & 0o055 == 0o055


@pytest.mark.parametrize("name", ["serving_default", "predict_images"])
def test_each_signature_takes_images_and_gives_scores(
    exported: tuple[Path, str], name: str
) -> None:
    import tensorflow as tf

    data = read_data_sets(None)
    signature = tf.saved_model.load(str(exported[0] / "00000001")).signatures[name]

    outputs = signature(images=tf.constant(data.test.images))

    (images,) = signature.structured_input_signature[1].values()
    assert (images.shape.as_list(), images.dtype) == ([None, 784], tf.float32)
    scores = outputs["scores"].numpy()
    assert list(outputs) == ["scores"]
    assert scores.shape == (500, 10)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(scores.argmax(axis=1) == data.test.labels) > 0.8


def test_a_version_in_a_bucket_is_one_that_a_server_can_load(
    gcs_emulator: GcsEmulator,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_emulator.url)
    place = f"gs://{bucket}/models/mnist"
    flags = ["--training_iteration=1", "--export_version=7", place]
    command = [sys.executable, "-m", "mnist.export", *flags]

    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    status = cli.main(["versions", "--json", place])

    assert ran.stdout.endswith(f"Exporting trained model to {place}/00000007\nDone exporting!\n")
    assert status == 0
    (version,) = json.loads(capsys.readouterr().out)["versions"]
    assert (version["directory"], version["state"]) == ("00000007", "complete")
