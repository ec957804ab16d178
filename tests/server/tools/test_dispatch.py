"""The first argument of `modelserver` calls a tool; a tool starts without what serves."""

import subprocess
import sys

import pytest

from modelserver.tools import TOOLS, TOOLS_HELP


def run(*argv):
    return subprocess.run(
        [sys.executable, *argv], check=False, capture_output=True, text=True, timeout=50
    )


def test_every_tool_is_in_the_help_of_the_server():
    shown = run("-m", "modelserver", "--help").stdout

    assert TOOLS_HELP in shown
    for tool in TOOLS:
        assert f"  modelserver {tool} " in shown
    assert "--model_base_path" in shown


def test_a_word_that_is_no_tool_is_the_server_s_to_refuse():
    finished = run("-m", "modelserver", "version", "/models/m")

    assert finished.returncode == 2
    assert finished.stderr == (
        "modelserver: unrecognized arguments: version /models/m (see modelserver --help)\n"
    )


@pytest.mark.parametrize("tool", TOOLS)
def test_no_tool_imports_a_framework_or_the_libraries_of_stores(tmp_path, base, table, tool):
    version = table(base / "1")
    arguments = {
        "versions": [str(base)],
        "pull": ["--platform=lookup", str(base), str(tmp_path / "copies")],
        "manifest": [str(version)],
    }
    program = f"""
import sys
from modelserver import cli

code = cli.main({[tool, *arguments[tool]]})
heavy = ("tensorflow", "tensorflow_serving", "keras", "grpc", "google", "aiohttp", "fsspec",
         "prometheus_client", "requests")
found = [name for name in sys.modules if name.partition(".")[0] in heavy]
sys.exit(f"imported {{found}}" if found else code)
"""

    finished = run("-c", program)

    assert finished.returncode == 0, finished.stderr
