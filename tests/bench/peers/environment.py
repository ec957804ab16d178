"""A virtual environment for each peer, made once from its pinned requirements."""

import hashlib
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from testcluster.cache import cache_directory

CACHE = cache_directory() / "bench"
_REQUIREMENTS = Path(__file__).with_name("requirements")
_REASON_LENGTH = 300


class NotInstallableError(Exception):
    """A peer cannot be installed here; says why, in words for the report."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment at `directory`."""

    directory: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.directory / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.directory / "lib" / version / "site-packages"

    def version_of(self, distribution: str) -> str:
        """The installed version, from its metadata's directory; "?" if there is none."""
        pattern = f"{distribution.replace('-', '_')}-*.dist-info"
        found = next(self.site_packages.glob(pattern), None)
        return found.name.removesuffix(".dist-info").split("-")[1] if found else "?"


def own_environment() -> Environment:
    """The environment that the benchmark itself runs in: this project's."""
    return Environment(Path(sys.prefix))


def install(name: str) -> Environment:
    """Make the environment of `requirements/NAME.txt`, unless it is there as that file wants it.

    Says what it does and how long it took. Raises `NotInstallableError`.
    """
    environment = Environment(CACHE / name)
    requirements = _REQUIREMENTS / f"{name}.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    ready = environment.directory / ".ready"
    if ready.is_file() and ready.read_text() == wanted:
        return environment
    print(f"Installing {name} into {environment.directory}…", file=sys.stderr, flush=True)
    begin = time.monotonic()
    _uv("venv", "--clear", "--python", sys.executable, str(environment.directory))
    _uv(
        *("pip", "install", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
        *("--python", str(environment.python), "-r", str(requirements)),
    )
    ready.write_text(wanted)
    print(f"  took {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return environment


def _uv(*arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("uv")), "--quiet", *arguments]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise NotInstallableError(reason_of(done.stderr))


def reason_of(output: str) -> str:
    """What a report can show of a program's output: a short line without addresses or folders."""
    text = re.sub(r"\w+://\S+|(?<!\w)/[\w./-]+/", "…", " ".join(output.split()))
    return text[-_REASON_LENGTH:] or "no reason given"
