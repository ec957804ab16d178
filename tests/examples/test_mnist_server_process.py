"""mnist_inference_2 as a process: how it starts, what it says when it cannot, and how it stops."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mnist import client

pytestmark = [pytest.mark.tensorflow, pytest.mark.process]

TIMEOUT_SECONDS = 50


class Server:
    """A running mnist_inference_2 and the lines that it prints."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "mnist.inference_2", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, text: str) -> str:
        """Return the next line with `text` in it."""
        while text not in (line := self._lines.get(timeout=TIMEOUT_SECONDS)):
            pass
        return line

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Server]:
    server = Server(*arguments)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("monitored")
    command = [sys.executable, "-m", "mnist.export", "--training_iteration=1", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT_SECONDS)
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_served_model_is_unloaded_and_the_status_is_0_after_a_signal(
    monitored: Path, number: signal.Signals
) -> None:
    with running("--port=0", str(monitored)) as server:
        address = server.wait_for("Serving at").split()[-1]
        assert client.main([f"--server={address}", "--num_tests=20", "--concurrency=5"]) == 0

        assert server.stop(number) == 0


def test_a_signal_while_no_model_is_there_gives_status_0(tmp_path: Path) -> None:
    with running("--port=0", str(tmp_path)) as server:
        server.wait_for("Waiting for models to be loaded...")

        assert server.stop(signal.SIGTERM) == 0


def test_a_model_that_appears_later_is_served(tmp_path: Path, monitored: Path) -> None:
    with running("--port=0", str(tmp_path)) as server:
        server.wait_for("Waiting for models to be loaded...")

        os.symlink(monitored / "00000001", tmp_path / "00000001")

        server.wait_for("Aspiring version for servable default version 1 from path: ")
        server.wait_for("Serving at")


def test_a_port_in_use_gives_one_line_that_names_it_and_status_1(monitored: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        with running(f"--port={port}", str(monitored)) as server:
            line = server.wait_for("mnist_inference_2: error: ")

            assert f"127.0.0.1:{port}" in line
            assert server.process.wait(TIMEOUT_SECONDS) == 1


def test_a_missing_directory_gives_one_line_and_status_1(tmp_path: Path) -> None:
    with running("--port=0", str(tmp_path / "absent")) as server:
        line = server.wait_for("mnist_inference_2: error: ")

        assert line.endswith(f"{tmp_path / 'absent'} is not a directory\n")
        assert server.process.wait(TIMEOUT_SECONDS) == 1


def test_an_invalid_port_gives_one_line_and_status_2(tmp_path: Path) -> None:
    with running("--port=65536", str(tmp_path)) as server:
        line = server.wait_for("mnist_inference_2: error: ")

        assert "argument --port: '65536' is not a whole number from 0 to 65535" in line
        assert server.process.wait(TIMEOUT_SECONDS) == 2
