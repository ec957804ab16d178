"""Versions on mounts that hang, vanish or must not be written to. Root mounts them for real."""

import os
import subprocess
from contextlib import contextmanager

import pytest

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def mount(directory, *options):
    command = ["mount", "-t", "tmpfs", "-o", ",".join(("size=16m", *options)), "none"]
    subprocess.run([*command, str(directory)], check=True)


def unmount(directory):
    # Lazily: as a server sees it that has files open there.
    subprocess.run(["umount", "--lazy", str(directory)], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def mounted(directory):
    directory.mkdir(parents=True)
    mount(directory)
    try:
        yield
    finally:
        unmount(directory)


def test_a_file_that_hangs_keeps_neither_other_models_nor_the_admin_port(
    make_pod, table, model, tmp_path
):
    good = table("good", 1, 1)
    hanging = tmp_path / "models" / "hanging" / "1"
    hanging.mkdir(parents=True)
    os.mkfifo(hanging / "table.npz")  # who opens it waits for a writer, for ever
    pod = make_pod()
    pod.write(model("hanging", str(hanging.parent), **{"await": False}), model("good", good))
    pod.start().wait_until_ready()
    pod.wait_for_versions("good", 1)

    pod.eventually(lambda: pod.model("hanging")["source"]["reason"] == "Unavailable")
    table("good", 2, 2)
    pod.wait_for_versions("good", 2)

    assert "does the storage hang?" in pod.model("hanging")["source"]["message"]
    assert pod.get("/livez")[0] == 200
    pod.process.terminate()
    assert pod.process.wait(60) == 0


@needs_root
def test_a_mount_that_vanishes_takes_nothing_away_and_is_followed_when_it_is_back(
    make_pod, table, model, tmp_path
):
    with mounted(tmp_path / "models"):
        base_path = table("m", 1, 1)
        pod = make_pod()
        pod.write(model("m", base_path))
        pod.start().wait_until_ready()

        unmount(tmp_path / "models")
        pod.eventually(lambda: pod.model("m")["source"]["reason"] == "NotFound")
        with pod.client() as client:
            assert client.look_up("m") == (1, 1)

        mount(tmp_path / "models")
        table("m", 2, 2)
        pod.wait_for_versions("m", 2)


@needs_root
def test_a_mount_that_must_not_be_written_to_is_as_good_as_any(make_pod, table, model, tmp_path):
    with mounted(tmp_path / "models"):
        base_path = table("m", 1, 1)
        options = "remount,ro"
        subprocess.run(["mount", "-o", options, str(tmp_path / "models")], check=True)
        pod = make_pod()
        pod.write(model("m", base_path))

        pod.start().wait_until_ready()

        assert pod.available("m") == {1}


def test_a_version_that_is_renamed_into_place_is_noticed_long_before_the_next_poll(
    make_pod, table, model, tmp_path
):
    base_path = table("m", 1, 1)
    table("made", 2, 2)
    pod = make_pod()
    pod.write(model("m", base_path, pollSeconds=3600))
    pod.start().wait_until_ready()

    (tmp_path / "models" / "made" / "2").rename(tmp_path / "models" / "m" / "2")

    pod.wait_for_versions("m", 2)
