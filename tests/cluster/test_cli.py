"""What the command says."""

import os
import subprocess
import sys

import pytest

from testcluster.errors import ClusterError
from testcluster.progress import step
from testcluster.waiting import wait_until


def test_waiting_in_vain_says_for_what():
    with pytest.raises(ClusterError, match="Waited 0 s in vain for a miracle"):
        wait_until(lambda: False, "a miracle", seconds=0)


def test_what_is_quick_is_not_talked_about():
    said = []

    with step("Blinking", said.append):
        pass

    assert said == []


def test_the_command_explains_itself():
    done = subprocess.run(
        [sys.executable, "-m", "testcluster", "--help"], capture_output=True, text=True, check=True
    )

    for word in ("build", "up", "down", "status", "load-image", "kubeconfig", "--nodes 0"):
        assert word in done.stdout


def test_the_command_says_in_a_line_that_its_cluster_does_not_run(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "testcluster", "kubeconfig", "--name", "nobody"],
        env={**os.environ, "MODELSERVER_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == (
        "testcluster: The cluster nobody is not running: python -m testcluster up\n"
    )
