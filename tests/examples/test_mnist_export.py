"""What mnist_export writes and what it refuses, short of training (see test_mnist_training)."""

from pathlib import Path

import pytest

from mnist import export
from mnist.destination import Bucket, Destination, parse_destination
from modelserver.errors import FailedPreconditionError, UnavailableError
from modelserver.sources.storage.gcs import GcsStore
from testcluster.gcs_emulator import GcsEmulator
from testcluster.gcs_faults import FaultProxy


@pytest.mark.parametrize("existing", ["1", "00000001", "001"])
def test_an_existing_version_is_refused_before_anything_is_trained(
    tmp_path: Path, existing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / existing).mkdir()

    status = export.main(["--export_version=1", str(tmp_path)])

    assert status == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error == (
        f"mnist_export: error: version 1 exists already: {tmp_path / existing}; "
        "choose another --export_version\n"
    )


def test_an_export_dir_that_is_a_file_gives_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")

    status = export.main([str(tmp_path / "file")])

    assert status == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_missing_data_is_reported_and_leaves_no_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = export.main([f"--data_dir={tmp_path / 'absent'}", str(tmp_path / "model")])

    assert status == 1
    assert "absent is not a directory" in capsys.readouterr().err
    assert list((tmp_path / "model").iterdir()) == []


# To a bucket.


@pytest.fixture
def models(
    gcs_emulator: GcsEmulator, bucket: str, gcs_faults: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URI of a place in a bucket where nothing is yet."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_faults.url)
    return f"gs://{bucket}/models/mnist"


@pytest.fixture
def destination(models: str) -> Destination:
    return parse_destination(models)


def write_version(directory: Path) -> None:
    """What a SavedModel consists of, as far as an upload is concerned."""
    (directory / "variables").mkdir(parents=True)
    (directory / "variables" / "variables.index").write_bytes(b"index")
    (directory / "fingerprint.pb").write_bytes(b"fingerprint")
    (directory / "saved_model.pb").write_bytes(b"graph")


def test_a_version_is_uploaded_whole_and_its_graph_last(
    models: str, destination: Destination, gcs_emulator: GcsEmulator
) -> None:
    destination.require_free(1)
    destination.put(1, write_version)

    names = ["variables/variables.index", "fingerprint.pb", "saved_model.pb"]
    bucket = models.split("/")[2]
    found = [gcs_emulator.metadata(bucket, f"models/mnist/00000001/{name}") for name in names]
    generations = [int(metadata["generation"]) for metadata in found if metadata is not None]
    assert destination.path_of(1) == f"{models}/00000001"
    assert len(generations) == len(names)
    assert generations == sorted(generations)


@pytest.mark.parametrize("existing", ["1", "00000001", "001"])
def test_a_version_in_a_bucket_is_refused_before_anything_is_trained(
    models: str, gcs_emulator: GcsEmulator, existing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gcs_emulator.put(models.split("/")[2], f"models/mnist/{existing}/saved_model.pb", b"graph")

    status = export.main(["--export_version=1", f"{models}/"])

    assert status == 1
    assert capsys.readouterr() == (
        "",
        f"mnist_export: error: version 1 exists already: {models}/{existing}; "
        "choose another --export_version\n",
    )


def test_a_bucket_that_is_missing_is_refused_before_anything_is_trained(
    models: str, capsys: pytest.CaptureFixture[str]
) -> None:
    del models

    status = export.main(["gs://no-such-bucket/mnist"])

    assert status == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("mnist_export: error: gs://no-such-bucket not found")
    assert error.count("\n") == 1


def test_a_version_that_somebody_else_puts_there_meanwhile_is_not_overwritten(
    models: str, destination: Destination, gcs_emulator: GcsEmulator
) -> None:
    bucket, name = models.split("/")[2], "models/mnist/00000001/variables/variables.index"
    destination.require_free(1)
    generation = gcs_emulator.put(bucket, name, b"theirs")

    with pytest.raises(FailedPreconditionError, match=f"gs://{bucket}/{name} exists already"):
        destination.put(1, write_version)

    theirs = gcs_emulator.metadata(bucket, name)
    assert theirs is not None
    assert int(theirs["generation"]) == generation


class BrokenStore(GcsStore):
    """Gets no answer to an upload."""

    def upload_version(self, directory: Path, version_path: str) -> None:
        raise UnavailableError(f"{version_path}/{directory.name}: no answer")


def test_an_upload_that_breaks_off_says_what_is_left_and_what_to_do() -> None:
    destination = Bucket("gs://b/mnist", BrokenStore())

    with pytest.raises(
        UnavailableError, match=r"no answer\. gs://b/mnist/00000001 is not whole, .* remove what is"
    ):
        destination.put(1, write_version)


@pytest.mark.parametrize("place", ["s3://bucket/mnist", "gs://", "gs:///mnist/"])
def test_a_place_that_is_neither_a_directory_nor_a_bucket_gives_one_line_and_status_2(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        export.main([place])

    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert f"'{place}' is neither a directory nor gs://BUCKET/PATH" in error
    assert error.count("\n") == 1
