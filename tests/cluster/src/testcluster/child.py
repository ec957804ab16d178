"""A process of the cluster, which never outlives the supervisor that started it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from testcluster.errors import ClusterError

_LOG_LINES = 15


class Child:
    """One program with its log. Start it from the supervisor's main thread: the kernel kills the
    child when that thread ends (PR_SET_PDEATHSIG), so that even SIGKILL leaves nothing behind.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ClusterError(f"{self.name} is not running")
        return self._process.pid

    @property
    def is_started(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Start, in a session of its own, so that a Ctrl-C does not reach it."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise ClusterError with the end of the log if the program has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            code = self._process.returncode
            raise ClusterError(
                f"{self.name} ended with {code}; the end of its log {self._log}:\n{self._tail()}"
            )

    def kill(self) -> None:
        """End it at once and wait for that. No-op when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
