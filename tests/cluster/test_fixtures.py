"""What the pytest plug-in makes of a test, seen from a pytest of its own."""

import subprocess
import sys

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


def run_pytest(folder, env, *options):
    (folder / "test_it.py").write_text(TESTS)
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
