#!/usr/bin/env python3
"""Build the project's images with whatever builds images here; save them as tars.

    build_images.py [server] [operator] [examples]

Prints the path of each tar (a docker-archive) on standard output; progress goes to standard error.
A tar is named after a hash of what goes into it, so that an unchanged image is not built again.
Needs nothing but Python: `make images` runs it before there is a virtual environment.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PUBLIC_BASE = "debian:bookworm-slim"
LOCAL_BASE = "localhost/modelserver-base:bookworm"
EXAMPLE_PACKAGES = [ROOT / "examples" / name for name in ("mnist", "plugins")]
KEEP_TARS = 2
PULL_SECONDS = 120


@dataclass(frozen=True)
class Image:
    """One image to build.

    `distribution` is the folder whose pyproject.toml gives the version; `inputs` are the files and
    folders that go into the image; `on` names the image of ours that it is built on, if any.
    """

    name: str
    distribution: str
    dockerfile: str
    inputs: tuple[str, ...]
    remark: str
    on: str = ""


IMAGES = {
    "server": Image(
        "modelserver",
        "server",
        "Dockerfile.server",
        (
            "requirements/server.txt",
            "requirements/build.txt",
            "server/pyproject.toml",
            "server/README.md",
            "server/src",
            "server/transport/Cargo.toml",
            "server/transport/pyproject.toml",
            "server/transport/README.md",
            "server/transport/modelserver_transport.pyi",
            "server/transport/py.typed",
            "server/transport/src",
        ),
        "about seven minutes the first time, most of it TensorFlow and Rust",
    ),
    "operator": Image(
        "modelserver-operator",
        "operator",
        "Dockerfile.operator",
        (
            "requirements/operator.txt",
            "requirements/build.txt",
            "operator/pyproject.toml",
            "operator/README.md",
            "operator/src",
        ),
        "about a minute the first time",
    ),
    "examples": Image(
        "modelserver-examples",
        "examples",
        "examples/Dockerfile",
        (
            "requirements/examples.txt",
            "requirements/build.txt",
            "examples/pyproject.toml",
            "examples/mnist",
            "examples/plugins",
        ),
        "about a minute the first time",
        on="server",
    ),
}


@dataclass(frozen=True)
class Engine:
    """A program that builds images, and how it says what we need of it."""

    program: str
    build: tuple[str, ...]
    inspect: tuple[str, ...]
    save: tuple[str, ...]  # {image} and {tar} stand for what is saved, and where to
    load: tuple[str, ...]


ENGINES = (
    Engine(
        "docker",
        ("build",),
        ("image", "inspect"),
        ("save", "--output", "{tar}", "{image}"),
        ("load", "--input", "{tar}"),
    ),
    Engine(
        "podman",
        ("build", "--format=docker"),
        ("image", "inspect"),
        ("save", "--format=docker-archive", "--output", "{tar}", "{image}"),
        ("load", "--input", "{tar}"),
    ),
    # chroot: needs neither a container runtime nor a network of its own.
    Engine(
        "buildah",
        ("build", "--format=docker", "--layers", "--isolation=chroot"),
        ("inspect", "--type=image"),
        ("push", "--quiet", "{image}", "docker-archive:{tar}:{image}"),
        ("pull", "--quiet", "docker-archive:{tar}"),
    ),
)


def main() -> int:
    """Build what the command line names (default: both). Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("images", nargs="*", metavar="|".join(IMAGES), help="default: all")
    names = parser.parse_args().images or list(IMAGES)
    unknown = sorted(set(names) - set(IMAGES))
    if unknown:
        parser.error(f"there is no image {unknown[0]!r}: choose from {', '.join(IMAGES)}")
    try:
        for name in names:
            print(ensure(IMAGES[name]))  # noqa: T201  # the answer
    except (BuildError, OSError, subprocess.SubprocessError) as error:
        say(f"make images: {error}")
        return 1
    return 0


class BuildError(Exception):
    """An image cannot be built here; the message says what to do."""


def ensure(image: Image) -> Path:
    """Return the tar of `image` as the tree is now, building it where it is not there yet.

    Raises:
        BuildError: nothing here builds images, or the build failed.

    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / f"{image.name}.lock"):
        tar = folder / f"{image.name}-{version(image)}-{content_key(image)}.tar"
        if tar.exists():
            os.utime(tar)
            say(f"{reference(image)} is up to date: {tar}")
        else:
            build(find_engine(), image, tar)
            forget_old_tars(folder, image)
    return tar


def cache_folder() -> Path:
    """Return where tars and the base are kept: MODELSERVER_CACHE/images."""
    default = Path.home() / ".cache" / "modelserver"
    return Path(os.environ.get("MODELSERVER_CACHE") or default) / "images"


def reference(image: Image) -> str:
    """Return the name and tag under which the engine knows `image`."""
    return f"localhost/{image.name}:{version(image)}"


def version(image: Image) -> str:
    """Return the version of the distribution in `image`, from its pyproject.toml."""
    file = ROOT / image.distribution / "pyproject.toml"
    found = re.search(r'^version = "([^"]+)"$', file.read_text(), re.MULTILINE)
    if found is None:
        raise BuildError(f"{file} names no version")
    return found[1]


def content_key(image: Image) -> str:
    """Return 12 hex digits that change with anything that goes into `image`."""
    below = content_key(IMAGES[image.on]) if image.on else base_name()
    digest = hashlib.sha256(f"{platform.machine()} {below}\n".encode())
    for path in input_files(image):
        content = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
        digest.update(f"{path} {content}\n".encode())
    return digest.hexdigest()[:12]


def input_files(image: Image) -> list[str]:
    """Return the files that go into `image`, relative to the repository, in order."""
    found = [ROOT / name for name in (image.dockerfile, ".dockerignore", *image.inputs)]
    files = [file for path in found for file in ([path] if path.is_file() else path.rglob("*"))]
    kept = (file for file in files if file.is_file() and "__pycache__" not in file.parts)
    return sorted(file.relative_to(ROOT).as_posix() for file in kept)


def base_name() -> str:
    """Return the base image that was asked for."""
    return os.environ.get("BASE_IMAGE") or PUBLIC_BASE


def find_engine() -> Engine:
    """Return the first engine that answers; a client without a daemon does not.

    Raises:
        BuildError: there is none, and buildah cannot be installed.

    """
    for engine in ENGINES:
        if answers(engine.program, "info"):
            return engine
    say("No docker, podman or buildah answers here: installing buildah")
    if subprocess.run([ROOT / "tests/install-debian-packages", "buildah"], check=False).returncode:
        raise BuildError("start docker, or install podman or buildah, and try again")
    return ENGINES[-1]


def build(engine: Engine, image: Image, tar: Path) -> None:
    """Build `image` and save it at `tar`, which appears whole or not at all."""
    name = reference(image)
    arguments = {"BASE_IMAGE": find_base(engine), "VERSION": version(image), "REVISION": revision()}
    if image.on:
        arguments["SERVER_IMAGE"] = load(engine, IMAGES[image.on])
    say(f"Building {name} with {engine.program}: {image.remark}")
    flags = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    run(engine.program, *engine.build, *flags, "-t", name, "-f", image.dockerfile, ".")
    say(f"Saving it as {tar}")
    with tempfile.TemporaryDirectory(dir=tar.parent) as scratch:
        unfinished = Path(scratch) / "image.tar"
        run(engine.program, *(part.format(image=name, tar=unfinished) for part in engine.save))
        unfinished.rename(tar)


def load(engine: Engine, image: Image) -> str:
    """Make sure that the engine has `image` as the tree is now; return its name there."""
    tar = ensure(image)
    run(engine.program, *(part.format(tar=tar) for part in engine.load))
    return reference(image)


def find_base(engine: Engine) -> str:
    """Return the base image to build on: the one asked for, or, where it cannot be had, ours.

    Raises:
        BuildError: BASE_IMAGE names an image that cannot be pulled.

    """
    wanted = base_name()
    for name in (wanted, LOCAL_BASE):
        if answers(engine.program, *engine.inspect, name):
            return name
    say(f"Pulling {wanted}")
    if answers(engine.program, "pull", wanted, seconds=PULL_SECONDS):
        return wanted
    if wanted != PUBLIC_BASE:
        raise BuildError(f"BASE_IMAGE={wanted} cannot be pulled")
    say(f"{wanted} cannot be pulled: making a base image of Debian packages instead (a minute)")
    make_base(engine)
    return LOCAL_BASE


def make_base(engine: Engine) -> None:
    """Make LOCAL_BASE: Debian 12 as debootstrap installs it, trusting whom this machine trusts."""
    if not shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin"):
        run(ROOT / "tests/install-debian-packages", "debootstrap")
    with tempfile.TemporaryDirectory(dir=cache_folder()) as context:
        script = Path(__file__).with_name("debootstrap-base")
        run(*([] if os.geteuid() == 0 else ["sudo"]), script, context)
        dockerfile = Path(context) / "Dockerfile"
        dockerfile.write_text("FROM scratch\nADD base.tar /\n")
        run(engine.program, *engine.build, "-t", LOCAL_BASE, "-f", dockerfile, context)


def revision() -> str:
    """Return the commit that is checked out, marked where the tree differs from it."""
    if not shutil.which("git"):
        return "unknown"
    command = ["git", "describe", "--always", "--abbrev=40", "--match=", "--dirty"]
    described = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"


def forget_old_tars(folder: Path, image: Image) -> None:
    """Delete all but the newest tars of `image`."""
    hexdigits = "[0-9a-f]" * 12
    tars = folder.glob(f"{image.name}-[0-9]*-{hexdigits}.tar")
    for tar in sorted(tars, key=lambda path: path.stat().st_mtime)[:-KEEP_TARS]:
        tar.unlink()


def answers(program: str, *arguments: str, seconds: float = 20) -> bool:
    """Say whether `program` exists and does what it is told, in time and without an error."""
    command = [program, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def run(*command: str | Path) -> None:
    """Run a command at the root of the repository, its output on standard error.

    Raises:
        BuildError: it failed.

    """
    if subprocess.run(command, cwd=ROOT, stdout=sys.stderr, check=False).returncode:
        raise BuildError(f"this failed: {' '.join(map(str, command))}")


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the file at `path` locked, so that two builds do not do the same work."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(message: str) -> None:
    """Tell whoever waits what is going on."""
    print(message, file=sys.stderr, flush=True)  # noqa: T201  # progress


if __name__ == "__main__":
    sys.exit(main())
