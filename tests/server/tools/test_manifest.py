"""`modelserver manifest`."""

import json
import os

import pytest

from modelserver.core.storage_path import StoragePath
from modelserver.sources.storage.file_system import FileSystemStorage
from modelserver.upload_manifest import MANIFEST, UploadManifest

CHECK = b"123456789"
CRC32C_OF_CHECK = "e3069283"  # the check value of the algorithm's definition


@pytest.fixture
def version(base):
    directory = base / "3"
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(CHECK)
    (directory / "variables" / "empty").touch()
    return directory


def missing(directory):
    files = FileSystemStorage().list_files(str(directory))
    return UploadManifest(lambda path: [])(StoragePath(str(directory), files))


def test_sizes_and_checksums_of_all_files_are_written_down(modelserver, version):
    outcome = modelserver("manifest", version)

    assert outcome.code == 0
    assert outcome.out == f"Wrote {version / MANIFEST}: it states 2 files, 9 bytes\n"
    assert json.loads((version / MANIFEST).read_text()) == {
        "files": {
            "saved_model.pb": {"size": 9, "crc32c": CRC32C_OF_CHECK},
            "variables/empty": {"size": 0, "crc32c": "00000000"},
        }
    }
    assert sorted(os.listdir(version)) == [MANIFEST, "saved_model.pb", "variables"]


def test_a_version_satisfies_its_own_manifest_until_something_is_lost(modelserver, version):
    modelserver("manifest", version)

    assert missing(version) == []
    (version / "variables" / "empty").unlink()
    assert missing(version) == ["variables/empty"]


def test_a_second_run_replaces_the_first_one_s_and_states_neither(modelserver, version):
    modelserver("manifest", version)
    (version / f".{MANIFEST}.unfinished").write_text("left by a run that was killed")
    (version / "saved_model.pb").write_bytes(CHECK * 2)

    outcome = modelserver("manifest", version)

    assert outcome.out == f"Wrote {version / MANIFEST}: it states 2 files, 18 bytes\n"
    assert missing(version) == []
    assert sorted(os.listdir(version)) == [MANIFEST, "saved_model.pb", "variables"]


def test_one_file_is_called_one_file(modelserver, version):
    (version / "saved_model.pb").unlink()

    assert "it states 1 file, 0 bytes" in modelserver("manifest", version).out


@pytest.mark.parametrize(
    ("path", "says"),
    [
        pytest.param("gone", "gone not found", id="missing"),
        pytest.param("words/3/saved_model.pb", "saved_model.pb; Not a directory", id="file"),
        pytest.param("empty", "empty has no files", id="empty"),
        pytest.param("words", "words is a base path: give the directory of one of", id="base-path"),
    ],
)
def test_what_is_no_version_is_refused_in_one_line(modelserver, tmp_path, version, path, says):
    (tmp_path / "empty").mkdir()

    outcome = modelserver("manifest", tmp_path / path)

    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.startswith("modelserver manifest: ")
    assert says in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_bucket_is_no_directory(modelserver):
    outcome = modelserver("manifest", "gs://bucket/m/1")

    assert outcome.code == 2
    assert "gs://bucket/m/1 is no directory: write the manifest first" in outcome.err


def test_a_name_that_cannot_be_written_down_is_refused_and_nothing_is_written(modelserver, version):
    (version / os.fsdecode(b"\xff")).touch()

    outcome = modelserver("manifest", version)

    assert outcome.code == 1
    assert "cannot have a manifest" in outcome.err
    assert not (version / MANIFEST).exists()


def test_a_file_that_grows_while_it_is_read_is_refused(modelserver, version, monkeypatch):
    list_files = FileSystemStorage.list_files

    def list_then_write(self, path):
        files = list_files(self, path)
        (version / "saved_model.pb").write_bytes(CHECK * 2)
        return files

    monkeypatch.setattr(FileSystemStorage, "list_files", list_then_write)

    outcome = modelserver("manifest", version)

    assert outcome.code == 1
    assert "saved_model.pb changes while it is read" in outcome.err
    assert not (version / MANIFEST).exists()


def test_help_says_how_to_go_on(modelserver):
    assert "gcloud storage cp -r" in modelserver("manifest", "--help").out
