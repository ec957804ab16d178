"""The emulator of Cloud Storage runs, ends, and differs from the real one where we know it."""

import http.client
import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from testcluster.errors import ClusterError
from testcluster.fixtures import skipped_where_impossible
from testcluster.gcs_emulator import (
    GcsEmulator,
    built_gcs_emulator,
    listening_port,
    object_path,
    running_gcs_emulator,
)
from testcluster.waiting import wait_until

OWNER = """
import signal
from testcluster.gcs_emulator import running_gcs_emulator

with running_gcs_emulator() as emulator:
    print(emulator.url, flush=True)
    signal.pause()
"""


def status_of(emulator, method, target):
    connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc)
    try:
        connection.request(method, target)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def possible():
    with skipped_where_impossible():
        built_gcs_emulator()


def test_an_object_is_written_described_replaced_and_deleted(gcs_emulator, bucket):
    first = gcs_emulator.put(bucket, "models/m 1/ü", b"old")
    second = gcs_emulator.put(bucket, "models/m 1/ü", b"newer")
    metadata = gcs_emulator.metadata(bucket, "models/m 1/ü")

    gcs_emulator.delete(bucket, "models/m 1/ü")

    assert first != second
    assert (metadata["generation"], metadata["size"]) == (str(second), "5")
    assert gcs_emulator.metadata(bucket, "models/m 1/ü") is None


def test_what_the_emulator_refuses_is_an_error_that_says_what(gcs_emulator):
    with pytest.raises(ClusterError, match=r"404 to POST /upload/storage/v1/b/no-such/o\?"):
        gcs_emulator.put("no-such", "name", b"")


def test_where_there_is_no_emulator_none_answers():
    assert not GcsEmulator("http://127.0.0.1:1").answers()


def test_a_process_that_does_not_listen_has_no_port():
    with subprocess.Popen(["sleep", "60"]) as process:
        assert listening_port(process.pid) is None
        process.kill()


@pytest.mark.emulator
def test_its_objects_may_be_files_and_it_may_have_another_address(possible, tmp_path):
    with running_gcs_emulator(host="127.0.0.2", folder=tmp_path / "objects") as emulator:
        emulator.create_bucket("files")
        generation = emulator.put("files", "a/b", b"content")

        assert emulator.url.startswith("http://127.0.0.2:")
        assert emulator.metadata("files", "a/b")["generation"] == str(generation)
        assert (tmp_path / "objects/files/a/b").read_bytes() == b"content"

    assert not emulator.answers()


@pytest.mark.emulator
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_its_owner_however_that_ends(possible, how):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        emulator = GcsEmulator(owner.stdout.readline().strip())
        assert emulator.answers()

        os.kill(owner.pid, how)
        owner.wait()

    wait_until(lambda: not emulator.answers(), "the emulator to end")


def test_several_run_at_once_on_ports_of_their_own(gcs_emulator, bucket):
    with running_gcs_emulator() as other:
        assert other.url != gcs_emulator.url
        assert other.metadata(bucket, "none") is None


# Where it differs from Cloud Storage: FaultProxy makes up for these. Should one of them fail after
# an update of the emulator, so much the better.


@pytest.mark.parametrize("target", ["/download{path}?alt=media&", "{path}?alt=media&", "{path}?"])
def test_alone_it_ignores_if_generation_match_when_read(gcs_emulator, bucket, target):
    generation = gcs_emulator.put(bucket, "name", b"content")
    path = target.format(path=object_path(bucket, "name"))

    assert status_of(gcs_emulator, "GET", f"{path}ifGenerationMatch={generation + 1}") == 200


def test_alone_it_ignores_if_generation_match_when_it_deletes(gcs_emulator, bucket):
    generation = gcs_emulator.put(bucket, "name", b"content")
    target = f"{object_path(bucket, 'name')}?ifGenerationMatch={generation + 1}"

    assert status_of(gcs_emulator, "DELETE", target) == 200
    assert gcs_emulator.metadata(bucket, "name") is None


def test_alone_it_heeds_the_generation_of_a_read(gcs_emulator, bucket):
    generation = gcs_emulator.put(bucket, "name", b"content")
    path = f"/download{object_path(bucket, 'name')}?alt=media"

    assert status_of(gcs_emulator, "GET", f"{path}&generation={generation}") == 200
    assert status_of(gcs_emulator, "GET", f"{path}&generation={generation - 1}") == 404
