"""What takes long to make is made once, in a folder per content of its inputs."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """MODELSERVER_CACHE, or ~/.cache/modelserver. Need not exist yet."""
    named = environ.get("MODELSERVER_CACHE")
    return Path(named).absolute() if named else Path.home() / ".cache" / "modelserver"


def content_hash(files: Iterable[Path], root: Path, *others: str) -> str:
    """Twelve hex digits over the files' paths below `root`, their bytes, and the other inputs."""
    digest = hashlib.sha256()
    for other in others:
        _add(digest, other.encode())
    for file in sorted(files):
        _add(digest, str(file.relative_to(root)).encode())
        _add(digest, file.read_bytes())
    return digest.hexdigest()[:12]


def _add(digest: "hashlib._Hash", part: bytes) -> None:
    # The length keeps two different lists of parts from giving the same bytes.
    digest.update(len(part).to_bytes(8, "big"))
    digest.update(part)


def cached(target: Path, build: Callable[[Path], None]) -> Path:
    """Return the folder `target`, made by `build(empty folder)` if it is not there yet.

    Any number of processes may ask at once: one builds, the others wait. A build that fails or is
    killed leaves nothing that would pass for a result.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent / f".{target.name}.lock"):
        if not target.is_dir():
            unfinished = target.parent / f".{target.name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            build(unfinished)
            unfinished.rename(target)
    return target


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file lock `path`, waiting for it. The kernel lets go of it when the process ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
