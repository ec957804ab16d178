"""What the pytest plug-in makes of a test, seen from a pytest of its own."""

import os
import subprocess
import sys

import pytest

TESTS = """
def test_reads(control_plane, namespace):
    assert namespace in control_plane.kubectl("get", "namespaces")

def test_restarts(control_plane):
    control_plane.restart_apiserver()

def test_loads(node):
    node.load_image("webapp")

def test_runs_alone():
    pass
"""

EMULATOR_TESTS = """
def test_stores(gcs_emulator):
    gcs_emulator.create_bucket("bkt")

def test_has_a_bucket_of_its_own(bucket, gcs_emulator):
    assert gcs_emulator.metadata(bucket, "none") is None

def test_sees_requests(gcs_faults):
    assert gcs_faults.requests() == []

def test_runs_alone():
    pass
"""


def run_pytest(folder, env, *options, tests=TESTS):
    (folder / "test_it.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *options]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False
    ).stdout


def test_with_a_given_cluster_tests_use_it_and_skip_what_only_ours_can(control_plane, tmp_path):
    said = run_pytest(tmp_path, {**control_plane.env, "CLUSTER": "current"})

    assert "2 passed, 2 skipped" in said
    assert "CLUSTER=current: its API server is not ours to restart" in said
    assert "CLUSTER=current: cannot load webapp into its nodes" in said


def test_markers_follow_from_the_fixtures(control_plane, tmp_path):
    assert "1 passed, 3 deselected" in run_pytest(tmp_path, control_plane.env, "-m", "not cluster")
    assert "test_it.py: 1" in run_pytest(tmp_path, control_plane.env, "-m", "node", "--co", "-qq")


def test_what_uses_the_emulator_is_marked(tmp_path):
    chosen = ("-m", "emulator", "--co", "-qq")

    assert "test_it.py: 3" in run_pytest(tmp_path, os.environ, *chosen, tests=EMULATOR_TESTS)


@pytest.mark.parametrize(("ci", "outcome"), [({}, "3 skipped"), ({"CI": "true"}, "3 errors")])
def test_where_the_emulator_cannot_run_its_tests_say_why(tmp_path, ci, outcome):
    env = {"PATH": str(tmp_path), **ci}

    said = run_pytest(tmp_path, env, tests=EMULATOR_TESTS)

    assert "1 passed" in said
    assert outcome in said
    assert "the GCS emulator needs setpriv: install the package util-linux" in said


@pytest.mark.emulator
def test_where_it_can_they_run(tmp_path, gcs_emulator):
    assert "4 passed" in run_pytest(tmp_path, os.environ, tests=EMULATOR_TESTS)
