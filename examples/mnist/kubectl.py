"""The commands kubectl and helm as a person types them: shown, run, and waited for with a sign of
life.
"""

import contextlib
import json
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from modelserver.errors import DeadlineExceededError, FailedPreconditionError, InternalError

_POLL_SECONDS = 0.5
_SIGN_OF_LIFE_SECONDS = 5.0


class Kubectl:
    """kubectl in one namespace of the current context. For one thread."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def show(self, *arguments: str) -> None:
        """Print the command and run it; what it prints is shown."""
        run_shown("kubectl", "-n", self._namespace, *arguments)

    def read(self, *arguments: str) -> str:
        """Return what the command prints, without showing it.

        Raises:
            InternalError: with what it said, where it fails.

        """
        return run_quietly("kubectl", "-n", self._namespace, *arguments)

    def get(self, *arguments: str) -> Any:
        """Return an object, or a list of them, as JSON."""
        return json.loads(self.read("get", *arguments, "-o", "json"))

    def create(self, manifest: Any) -> str:
        """Create an object and return its name, which may be generated."""
        command = ("kubectl", "-n", self._namespace, "create", "-f", "-", "-o", "name")
        created = run_quietly(*command, input=json.dumps(manifest))
        return created.strip().rpartition("/")[2]

    def wait_for_job(self, name: str, timeout_seconds: float) -> str:
        """Wait until a Job has ended, and return what its pod printed.

        Raises:
            InternalError: it failed; what it printed has been shown.
            DeadlineExceededError: it has not ended; says what its pods are waiting for.

        """
        with sign_of_life(f"job {name}"):
            end = time.monotonic() + timeout_seconds
            while not (outcome := _outcome(self.get(f"job/{name}"))):
                if time.monotonic() > end:
                    pods = self.read("get", "pods", "-l", f"job-name={name}")
                    events = self.read("get", "events")
                    raise DeadlineExceededError(f"job {name} has not ended:\n{pods}{events}")
                time.sleep(_POLL_SECONDS)
        log = self.read("logs", f"job/{name}")
        if outcome == "Failed":
            raise InternalError(f"job {name} failed:\n{log}")
        return log


def require_commands() -> None:
    """Raise `FailedPreconditionError` where kubectl, helm or the cluster is missing."""
    try:
        run_quietly("helm", "version", "--short")
        run_quietly("kubectl", "version")
    except FileNotFoundError as error:
        raise FailedPreconditionError(
            f"{error.filename} is not on the PATH; `make demo` brings one along, with a cluster"
        ) from error


def run_shown(*command: str) -> None:
    """Print a command and run it; what it prints is shown.

    Raises:
        InternalError: it failed.

    """
    print(f"$ {shlex.join(command)}", flush=True)
    with sign_of_life(command[0]):
        status = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
    if status:
        raise InternalError(f"{shlex.join(command)} ended with exit status {status}")


def run_quietly(*command: str, input: str = "") -> str:
    """Return what a command prints.

    Raises:
        InternalError: it failed; with what it said.

    """
    ran = subprocess.run(command, check=False, input=input, capture_output=True, text=True)
    if ran.returncode:
        raise InternalError(f"{shlex.join(command)}: {ran.stderr.strip()}")
    return ran.stdout


@contextlib.contextmanager
def sign_of_life(what: str) -> Iterator[None]:
    """Say every few seconds that something goes on."""
    done = threading.Event()
    start = time.monotonic()

    def remind() -> None:
        while not done.wait(_SIGN_OF_LIFE_SECONDS):
            seconds = time.monotonic() - start
            print(f"   … {what}: {seconds:.0f} s", file=sys.stderr, flush=True)

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()


def _outcome(job: Any) -> str:
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["type"])
    return ""
