"""`modelserver versions` on directories."""

import json
import os

import numpy as np
import pytest


def test_the_versions_are_listed_newest_first_with_what_they_lack(modelserver, base, table):
    table(base / "00000001")
    table(base / "2", b"")
    np.savez(table(base / "10") / "second", keys=np.arange(3))

    outcome = modelserver("versions", "--platform=lookup", base)

    assert outcome.code == 0
    assert outcome.err == ""
    assert [line.split(maxsplit=5) for line in outcome.out.splitlines()] == [
        ["VERSION", "STATE", "FILES", "SIZE", "MISSING"],
        [
            "10",
            "incomplete",
            "2",
            *size_of(base / "10"),
            "one table file instead of second.npz, table.csv",
        ],
        ["2", "incomplete", "1", "0", "bytes", "the rest of table.csv"],
        ["1", "complete", "1", "8", "bytes"],
    ]


def size_of(directory):
    return [str(sum(file.stat().st_size for file in directory.iterdir())), "bytes"]


def test_columns_stand_below_their_headings(modelserver, base, table):
    table(base / "1")
    table(base / "1000000")

    heading, *rows = modelserver("versions", "--platform=lookup", base).out.splitlines()

    assert {row.index("complete") for row in rows} == {heading.index("STATE")}
    assert {row.index("8 bytes") for row in rows} == {heading.index("SIZE")}


def test_what_is_no_version_is_listed_after_the_others(modelserver, base, table):
    table(base / "1")
    table(base / "01")
    table(base / ".1.incoming")

    lines = modelserver("versions", "--platform=lookup", base).out.splitlines()

    assert lines[2:] == [
        "",
        ".1.incoming is no version: its name is not a number",
        "Duplicate version directories detected. Version 1 will be loaded from 1, 01 will be "
        "ignored.",
    ]


def test_json_has_all_of_it_under_stable_keys(modelserver, base, table):
    table(base / "00000001")
    table(base / "2", b"")
    (base / "tmp").mkdir()

    outcome = modelserver("versions", "--json", "--platform=lookup", base)

    assert outcome.code == 0
    assert json.loads(outcome.out) == {
        "uri": str(base),
        "versions": [
            {
                "version": 2,
                "directory": "2",
                "state": "incomplete",
                "files": 1,
                "bytes": 0,
                "missing": ["the rest of table.csv"],
                "cached": None,
            },
            {
                "version": 1,
                "directory": "00000001",
                "state": "complete",
                "files": 1,
                "bytes": 8,
                "missing": [],
                "cached": None,
            },
        ],
        "ignored": [{"name": "tmp", "reason": "tmp is no version: its name is not a number"}],
    }


def test_a_version_that_cannot_be_listed_says_why_and_has_no_size(modelserver, base, monkeypatch):
    (base / "1").mkdir()
    scan = os.scandir

    def refuse(path):
        if path == str(base / "1"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)

    lines = modelserver("versions", base).out.splitlines()
    (version,) = json.loads(modelserver("versions", "--json", base).out)["versions"]

    assert lines[1].split(maxsplit=4) == [
        *("1", "unreadable", "-", "-"),
        f"{base / '1'}; Permission denied",
    ]
    assert (version["state"], version["files"], version["bytes"]) == ("unreadable", None, None)


def test_an_empty_base_path_is_listed_and_says_what_may_be_wrong(modelserver, base):
    outcome = modelserver("versions", base)

    assert outcome.code == 0
    assert outcome.out == (
        f"No versions found under {base}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?\n"
    )
    assert json.loads(modelserver("versions", "--json", base).out)["versions"] == []


def test_a_path_may_be_relative_and_end_with_a_slash(modelserver, base, table, monkeypatch):
    table(base / "1")
    monkeypatch.chdir(base.parent)

    found = json.loads(modelserver("versions", "--platform=lookup", "--json", "words/").out)

    assert found["uri"] == str(base)
    assert found["versions"][0]["state"] == "complete"


def test_a_marker_and_a_manifest_are_heeded(modelserver, base, table):
    version = table(base / "1")
    command = ("versions", "--platform=lookup", "--ready_marker=_SUCCESS", "--json", base)

    def missing():
        return json.loads(modelserver(*command).out)["versions"][0]["missing"]

    assert missing() == ["_SUCCESS (ready marker)"]
    (version / "_SUCCESS").touch()
    modelserver("manifest", version)
    assert missing() == []
    (version / "table.csv").write_text("a,1\n")
    assert missing() == ["table.csv (4 of 8 bytes)"]


def test_a_name_that_would_upset_a_terminal_is_spelled_out(modelserver, base):
    os.mkdir(os.fsencode(base) + b"/\x1b[2J\nlist\xff")

    lines = modelserver("versions", base).out.splitlines()

    assert lines[-1] == r"\x1b[2J\nlist\udcff is no version: its name is not a number"
    assert json.loads(modelserver("versions", "--json", base).out)["ignored"]


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        pytest.param(["{tmp}/gone"], 1, "{tmp}/gone not found", id="missing"),
        pytest.param(["{tmp}/file"], 1, "{tmp}/file; Not a directory", id="file"),
        pytest.param(["gs:///m"], 1, "gs:///m names no bucket", id="no-bucket"),
        pytest.param(["gs://"], 1, "gs:// names no bucket", id="no-bucket-at-all"),
        pytest.param(
            ["--platform=onyx", "{tmp}"], 2, "No platform is called 'onyx'", id="platform"
        ),
        pytest.param([], 2, "required: URI (see modelserver versions --help)", id="no-uri"),
        pytest.param(["--jsn", "{tmp}"], 2, "unrecognized arguments: --jsn", id="flag"),
        pytest.param(["--js", "{tmp}"], 2, "unrecognized arguments: --js", id="abbreviation"),
        pytest.param(
            ["--gcs_anonymous=maybe", "{tmp}"], 2, "'maybe' is neither true nor false", id="boolean"
        ),
    ],
)
def test_what_cannot_be_listed_gives_one_line(modelserver, tmp_path, argv, code, says):
    (tmp_path / "file").touch()

    outcome = modelserver("versions", *(word.format(tmp=tmp_path) for word in argv))

    assert outcome.code == code
    assert outcome.out == ""
    assert outcome.err.startswith("modelserver versions: ")
    assert says.format(tmp=tmp_path) in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--gcs_anonymous", "--gcs_anonymous=true", "--gcs_anonymous=0"])
def test_a_boolean_flag_does_not_take_the_uri_for_its_value(modelserver, base, flag):
    assert modelserver("versions", flag, base).code == 0


def test_help_has_examples(modelserver):
    outcome = modelserver("versions", "--help")

    assert outcome.code == 0
    assert "  modelserver versions gs://my-models/mnist\n" in outcome.out
