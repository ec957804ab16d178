import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.slow]

HERE = Path(__file__).parent


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[int]:
    """An HTTP server that answers every POST so; its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def load(port: int, folder: Path, wanted: bytes) -> dict[str, float]:
    """Half a second of two connections that send a list and want `wanted` back."""
    (folder / "request").write_bytes(b'{"x": [[1, 2]]}')
    (folder / "answer").write_bytes(wanted)
    done = subprocess.run(
        [
            *(sys.executable, str(HERE / "http_load.py"), f"--port={port}", f"--pid={os.getpid()}"),
            *("--path=/predict", f"--request={folder / 'request'}", "--tolerance=0.01"),
            *(f"--expect={folder / 'answer'}", "--connections=2", "--streams=1"),
            *("--seconds=0.5", "--warm-up=0.1"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_the_http_client_counts_answers_within_the_tolerance_as_right(tmp_path: Path) -> None:
    with answering(b'{"y": [[0.501, 0.499]]}') as port:
        found = load(port, tmp_path, b'{"y": [[0.5, 0.5]]}')

    assert found["failures"] == 0
    assert found["rps"] > 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"y": [[0.9, 0.1]]}', 200),
        (b'{"y": [[0.5]]}', 200),
        (b"no JSON", 200),
        (b'{"y": [[0.5, 0.5]]}', 503),
    ],
)
def test_the_http_client_counts_wrong_answers_as_failures(
    body: bytes, status: int, tmp_path: Path
) -> None:
    with answering(body, status) as port:
        found = load(port, tmp_path, b'{"y": [[0.5, 0.5]]}')

    assert found["failures"] > 0
    assert found["rps"] == 0


RUN_A_SERVER_WITH_A_CHILD = """
import sys, time
from pathlib import Path
from server_process import process_tree, running

child = "import time; time.sleep(600)"
server = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
with running([sys.executable, "-c", server], {}, Path(sys.argv[1])) as process:
    while len(tree := process_tree(process.pid)) < 2:
        time.sleep(0.05)
    print(*tree, flush=True)
    ENDING
"""


@pytest.mark.parametrize("ending", ["pass", "raise KeyboardInterrupt", "sys.exit(143)"])
def test_a_server_is_ended_with_its_children_however_the_block_ends(
    ending: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", RUN_A_SERVER_WITH_A_CHILD.replace("ENDING", ending)),
            str(tmp_path / "log"),
        ],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=HERE,
    )

    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def is_alive(pid: int) -> bool:
    """Whether it runs, after a moment in which its parent may see that it has ended."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except OSError:
            return False
        time.sleep(0.05)
    return True
