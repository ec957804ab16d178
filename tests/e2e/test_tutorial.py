"""The tutorial for real: its program, and the commands of its page as a reader would type them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.timeout(240),
]

REPOSITORY = Path(__file__).parents[2]
MIN_IMPROVEMENT_POINTS = 2.0


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What `python -m mnist.tutorial` printed, and the directory that it worked in."""
    work_dir = tmp_path_factory.mktemp("tutorial")
    command = [sys.executable, "-m", "mnist.tutorial", f"--work_dir={work_dir}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout, work_dir


def test_the_second_version_is_better_by_two_points_or_more(tutorial: tuple[str, Path]) -> None:
    output, _ = tutorial

    before, after = map(float, re.findall(r"Inference error rate: ([\d.]+)%", output))

    assert before - after >= MIN_IMPROVEMENT_POINTS
    assert f"Error rate of version 1: {before}%" in output
    assert f"Error rate of version 2: {after}%" in output


def test_no_call_fails_while_the_second_version_replaces_the_first(
    tutorial: tuple[str, Path],
) -> None:
    output, _ = tutorial

    counts = re.search(r"Calls across the switch: (\d+) answered, (\d+) failed", output)

    assert counts is not None
    assert int(counts[1]) > 100
    assert int(counts[2]) == 0


def test_the_server_says_which_versions_it_aspires_at_every_poll(
    tutorial: tuple[str, Path],
) -> None:
    _, work_dir = tutorial

    log = (work_dir / "server.log").read_text()

    for version in (1, 2):
        line = f"Aspiring version for servable default version {version} from path: "
        assert log.count(f"{line}{work_dir}/monitored/0000000{version}\n") >= 2


def test_every_step_says_how_long_it_took(tutorial: tuple[str, Path]) -> None:
    output, _ = tutorial

    steps = re.findall(r"^== (.+)$", output, re.MULTILINE)
    times = re.findall(r"^   \([\d.]+ s\)$", output, re.MULTILINE)

    assert len(steps) == len(times) == 7


def test_the_output_has_no_notices_of_tensorflow(tutorial: tuple[str, Path]) -> None:
    output, _ = tutorial

    assert "INFO Serving at" in output
    assert [line for line in output.splitlines() if "absl" in line or "oneDNN" in line] == []


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_the_commands_of_the_page_work_as_they_stand(tmp_path: Path, free_port: int) -> None:
    page = (REPOSITORY / "docs" / "tutorial.md").read_text()
    blocks = re.findall(r"^```shell\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    script = "".join(blocks).replace("/tmp/", f"{tmp_path}/").replace("9000", str(free_port))

    ran = run_script(script)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    before, after = map(float, re.findall(r"Inference error rate: ([\d.]+)%", ran.stdout))
    assert before - after >= MIN_IMPROVEMENT_POINTS
    assert "00000001\n00000002\n" in ran.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_tutorial_stops_what_it_started(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-u", "-m", "mnist.tutorial", f"--work_dir={tmp_path}"]
    with started(command) as process:
        read_until(process, "Classify 1000 test images")

        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)

        assert process.returncode == 130, rest + errors
        assert errors == "mnist.tutorial: interrupted\n"
        assert session_members(process.pid) == []


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    """Run `script` in a shell that knows the commands of this environment."""
    with started(["bash", "-eu", "-c", script]) as shell:
        output, errors = shell.communicate(timeout=200)
    return subprocess.CompletedProcess(script, shell.returncode, output, errors)


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Start `command` in a session of its own, of which nothing stays behind."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        command,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for member in session_members(process.pid):
            os.kill(member, signal.SIGKILL)
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> None:
    """Read what `process` prints up to the line with `text` in it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return
    pytest.fail("".join(lines) + process.communicate()[1])


def session_members(session: int) -> list[int]:
    """The processes of a session, ended ones that nobody has waited for included."""
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(int(entry.name)) == session:
                members.append(int(entry.name))
    return members
