"""`modelserver pull` from directories."""

import json
import os

import pytest

from modelserver.upload_manifest import MANIFEST

PULL = ("pull", "--platform=lookup")


def test_the_newest_complete_version_is_taken(modelserver, base, table, tmp_path):
    table(base / "1", b"old,1\n")
    table(base / "00000010", b"new,1\n")
    table(base / "9", b"between,1\n")

    outcome = modelserver(*PULL, base, tmp_path / "copies")

    copy = tmp_path / "copies" / "00000010"
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.startswith(f"Copied {base / '00000010'} to {copy}: 1 file, 6 bytes, in ")
    assert (copy / "table.csv").read_bytes() == b"new,1\n"
    assert os.listdir(tmp_path / "copies") == ["00000010"]


def test_versions_that_are_passed_over_are_named(modelserver, base, table, tmp_path):
    table(base / "1")
    table(base / "2", b"")

    outcome = modelserver(*PULL, base, tmp_path / "copies")

    assert outcome.code == 0
    assert os.listdir(tmp_path / "copies") == ["1"]
    assert outcome.err == (
        f"modelserver pull: {base / '2'} is not complete, it lacks the rest of table.csv: "
        "taking 1\n"
    )


def test_a_version_by_its_own_path_is_taken_though_there_is_a_newer_one(
    modelserver, base, table, tmp_path
):
    table(base / "1", b"old,1\n")
    table(base / "2", b"new,1\n")

    outcome = modelserver(*PULL, f"{base}/1/", tmp_path / "copies")

    assert outcome.code == 0
    assert (tmp_path / "copies" / "1" / "table.csv").read_bytes() == b"old,1\n"


def test_a_base_path_may_be_called_by_a_number(modelserver, tmp_path, table):
    table(tmp_path / "2024" / "7")

    outcome = modelserver(*PULL, tmp_path / "2024", tmp_path / "copies")

    assert outcome.code == 0
    assert os.listdir(tmp_path / "copies") == ["7"]


def test_json_says_what_was_copied_to_where(modelserver, base, table, tmp_path):
    table(base / "00000001")

    outcome = modelserver(*PULL, "--json", base, tmp_path / "copies")

    result = json.loads(outcome.out)
    assert result.pop("seconds") >= 0
    assert result == {
        "uri": str(base / "00000001"),
        "version": 1,
        "path": str(tmp_path / "copies" / "00000001"),
        "files": 1,
        "bytes": 8,
    }


def test_folders_empty_files_and_the_manifest_come_along(modelserver, base, table, tmp_path):
    version = table(base / "1")
    (version / "notes").mkdir()
    (version / "notes" / "empty").touch()
    modelserver("manifest", version)

    modelserver(*PULL, base, tmp_path / "copies")
    again = modelserver("versions", "--platform=lookup", "--json", tmp_path / "copies")

    assert json.loads(again.out)["versions"][0]["state"] == "complete"
    assert sorted(os.listdir(tmp_path / "copies" / "1")) == [MANIFEST, "notes", "table.csv"]


@pytest.mark.parametrize("place", ["", "1"])
def test_an_incomplete_version_is_refused_with_what_it_lacks(
    modelserver, base, table, tmp_path, place
):
    table(base / "1")

    outcome = modelserver(*PULL, "--ready_marker=_SUCCESS", base / place, tmp_path / "copies")

    assert outcome.code == 1
    assert f"{base / '1'} is not complete, it lacks _SUCCESS (ready marker)\n" in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "copies").exists()


def test_what_is_there_already_is_not_overwritten(modelserver, base, table, tmp_path):
    table(base / "1")
    copy = table(tmp_path / "copies" / "1", b"mine,1\n")

    outcome = modelserver(*PULL, base, tmp_path / "copies")

    assert outcome.code == 1
    assert outcome.err == f"modelserver pull: {copy} exists already\n"
    assert (copy / "table.csv").read_bytes() == b"mine,1\n"


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        pytest.param(["{tmp}/gone", "{tmp}/c"], 1, "{tmp}/gone not found", id="missing"),
        pytest.param(["{tmp}/3", "{tmp}/c"], 1, "{tmp}/3 not found", id="missing-version"),
        pytest.param(["{tmp}/empty", "{tmp}/c"], 1, "No versions found under {tmp}/e", id="empty"),
        pytest.param(
            ["{tmp}/words", "{tmp}/file"], 1, "{tmp}/file/.1.incoming: Not", id="into-a-file"
        ),
        pytest.param(
            ["{tmp}/words", "gs://b/m"], 2, "gs://b/m is no directory", id="into-a-bucket"
        ),
        pytest.param(["{tmp}/words"], 2, "arguments are required: DIR", id="no-directory"),
    ],
)
def test_what_cannot_be_copied_gives_one_line(modelserver, tmp_path, base, table, argv, code, says):
    table(base / "1")
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()

    outcome = modelserver(*PULL, *(word.format(tmp=tmp_path) for word in argv))

    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err.startswith("modelserver pull: ")
    assert says.format(tmp=tmp_path) in outcome.err
    assert outcome.err.count("\n") == 1


def test_help_has_examples(modelserver):
    assert "  modelserver pull gs://my-models/mnist/00000003 " in modelserver("pull", "--help").out
