"""The tools on Cloud Storage: its emulator, and a proxy before it in which things go wrong."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.storage.cached import CachedStorage
from modelserver.sources.storage.gcs import GcsStore
from testcluster.faults import Corrupt, Hidden, Stall, Status

LARGE = b"".join(b"%d,1\n" % number for number in range(300_000))
MODELSERVER = [sys.executable, "-m", "modelserver"]
PATIENCE_SECONDS = 30


class Bucket:
    """A bucket behind a proxy, written to directly."""

    def __init__(self, emulator, name):
        self._emulator = emulator
        self._name = name
        self.uri = f"gs://{name}/words"

    def put(self, name, content=b"a,1\n"):
        self._emulator.put(self._name, f"words/{name}", content)


@pytest.fixture
def words(gcs_emulator, bucket, gcs_faults, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_faults.url)
    return Bucket(gcs_emulator, bucket)


def found(modelserver, *flags):
    outcome = modelserver("versions", "--json", "--platform=lookup", *flags)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def reads(faults, under="words/"):
    return [r.name for r in faults.requests() if r.kind == "read" and r.name.startswith(under)]


# versions…


def test_the_versions_in_a_bucket_are_listed(modelserver, words, tmp_path):
    words.put("1/table.csv")
    words.put("00000002/table.csv", b"")
    words.put("3/")
    words.put("notes/README")

    listed = found(modelserver, f"--cache_dir={tmp_path}", f"{words.uri}/")

    assert listed["uri"] == words.uri
    assert [(row["directory"], row["state"], row["missing"]) for row in listed["versions"]] == [
        ("3", "incomplete", ["a .npz, .csv or .tsv file"]),
        ("00000002", "incomplete", ["the rest of table.csv"]),
        ("1", "complete", []),
    ]
    assert [row["cached"] for row in listed["versions"]] == [False, False, False]
    assert [row["name"] for row in listed["ignored"]] == ["notes"]
    assert os.listdir(tmp_path) == []


def test_a_version_that_the_server_has_copied_is_cached(modelserver, words, tmp_path):
    words.put("1/table.csv")
    words.put("2/table.csv", b"b,1\n")
    storage = CachedStorage(GcsStore(), VersionCache(tmp_path))
    uri = f"{words.uri}/1"
    storage.hold(storage.locate(uri, storage.list_files(uri)))()
    storage.stop()

    listed = found(modelserver, f"--cache_dir={tmp_path}", words.uri)

    assert [row["cached"] for row in listed["versions"]] == [False, True]


def test_a_manifest_in_a_bucket_is_compared_by_checksum(modelserver, words):
    words.put("1/table.csv", b"a,2\n")
    words.put(
        "1/modelserver.manifest.json",
        b'{"files": {"table.csv": {"size": 4, "crc32c": "00000000"}}}',
    )

    (version,) = found(modelserver, words.uri)["versions"]

    assert version["state"] == "incomplete"
    (missing,) = version["missing"]
    assert missing.startswith("table.csv (CRC32C ")
    assert missing.endswith(" instead of 00000000)")


def test_what_must_not_be_read_says_so_and_who_asked(modelserver, words, gcs_faults):
    gcs_faults.inject(Status(403), kind="list")

    outcome = modelserver("versions", words.uri)

    assert outcome.code == 1
    assert outcome.err.startswith(f"modelserver versions: {words.uri}: ")
    assert "roles/storage.objectViewer" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_version_that_must_not_be_read_is_unreadable(modelserver, words, gcs_faults):
    words.put("1/table.csv")
    words.put("2/table.csv")
    gcs_faults.inject(Status(403), kind="list", under="words/2/")

    versions = found(modelserver, words.uri)["versions"]

    assert [(row["version"], row["state"]) for row in versions] == [
        (2, "unreadable"),
        (1, "complete"),
    ]


# pull…


def test_the_newest_complete_version_is_copied_from_a_bucket(modelserver, words, tmp_path):
    words.put("1/table.csv", b"old,1\n")
    words.put("00000002/table.csv", LARGE)
    words.put("00000002/notes/README", b"")
    words.put("3/table.csv", b"")

    outcome = modelserver("pull", "--platform=lookup", words.uri, tmp_path)

    assert outcome.code == 0
    assert f"{words.uri}/3 is not complete, it lacks the rest of table.csv" in outcome.err
    assert outcome.out.startswith(f"Copied {words.uri}/00000002 to {tmp_path / '00000002'}: 2 f")
    assert (tmp_path / "00000002" / "table.csv").read_bytes() == LARGE
    assert (tmp_path / "00000002" / "notes" / "README").read_bytes() == b""


def test_content_that_was_damaged_on_its_way_does_not_appear_and_is_all_that_is_read_again(
    modelserver, words, gcs_faults, tmp_path
):
    words.put("1/table.csv")
    words.put("1/notes/large", LARGE)
    words.put("1/notes/small", b"x" * 2_000)
    gcs_faults.inject(Corrupt(offset=1_000), kind="read", under="words/1/notes/small")
    pull = ("pull", "--platform=lookup", words.uri, tmp_path)

    failed = modelserver(*pull)
    left = os.listdir(tmp_path)
    gcs_faults.heal()
    gcs_faults.clear()
    succeeded = modelserver(*pull)

    assert (failed.code, left) == (1, [".1.incoming"])
    assert "notes/small does not match its checksum" in failed.err
    assert failed.err.count("\n") == 1
    assert succeeded.code == 0
    assert reads(gcs_faults, "words/1/notes/") == ["words/1/notes/small"]
    assert (tmp_path / "1" / "notes" / "large").read_bytes() == LARGE


def test_an_upload_that_is_under_way_is_refused_by_its_manifest(
    modelserver, words, gcs_faults, tmp_path
):
    words.put("1/table.csv")
    words.put("1/notes")
    words.put(
        "1/modelserver.manifest.json",
        b'{"files": {"table.csv": {"size": 4}, "notes": {"size": 4}}}',
    )
    gcs_faults.inject(Hidden("words/1/notes"))

    outcome = modelserver("pull", "--platform=lookup", f"{words.uri}/1", tmp_path)

    assert outcome.code == 1
    assert outcome.err == f"modelserver pull: {words.uri}/1 is not complete, it lacks notes\n"


@pytest.mark.process
@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        pytest.param(signal.SIGINT, 130, "modelserver pull: interrupted\n", id="interrupted"),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, "", id="killed"),
    ],
)
def test_a_pull_that_hangs_can_be_ended_and_goes_on_later(
    modelserver, words, gcs_faults, tmp_path, number, code, says
):
    words.put("1/table.csv", LARGE)
    words.put("1/notes", b"x" * 2_000)
    gcs_faults.inject(Stall(after=1_000), kind="read", under="words/1/notes")
    pull = ["pull", "--platform=lookup", f"{words.uri}/1", str(tmp_path)]
    process = subprocess.Popen([*MODELSERVER, *pull], stderr=subprocess.PIPE, text=True)

    assert recorded(tmp_path / ".1.incoming", "table.csv")
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    gcs_faults.heal()
    gcs_faults.clear()
    outcome = modelserver(*pull)

    assert (process.returncode, err) == (code, says)
    assert outcome.code == 0
    # Its first kilobytes are looked at to see whether the table is whole, and no more is read.
    assert sum(request.sent for request in gcs_faults.requests() if is_table(request)) < len(LARGE)
    assert (tmp_path / "1" / "table.csv").read_bytes() == LARGE
    assert (tmp_path / "1" / "notes").read_bytes() == b"x" * 2_000


def is_table(request):
    return request.kind == "read" and request.name == "words/1/table.csv"


def recorded(incoming, name):
    """Wait until a file's only part is on record."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if (incoming / "journal").exists() and name in (incoming / "journal").read_text():
            return True
        time.sleep(0.01)
    return False
