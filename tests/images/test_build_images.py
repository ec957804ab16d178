"""`make images` with engines that only write down what they are told."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "tests/images/build_images.py",
    "Dockerfile.server",
    "Dockerfile.operator",
    ".dockerignore",
    "requirements/server.txt",
    "requirements/operator.txt",
    "requirements/build.txt",
    "server/pyproject.toml",
    "server/README.md",
    "server/transport/Cargo.toml",
    "server/transport/pyproject.toml",
    "server/transport/README.md",
    "server/transport/modelserver_transport.pyi",
    "server/transport/py.typed",
    "operator/pyproject.toml",
    "operator/README.md",
)
ENGINE = """#!/bin/sh
echo "${0##*/} $*" >> "$ENGINE_LOG"
for word in $FAILS_AT; do case "$*" in *"$word"*) exit 1 ;; esac; done
case "$1" in save) shift; while [ "$1" != --output ]; do shift; done; echo tar > "$2" ;; esac
"""


class Tree:
    """A copy of the files that matter, and a PATH with the engines that were added."""

    def __init__(self, folder):
        self.root, self._bin, self.cache = folder / "tree", folder / "bin", folder / "cache"
        self._log = folder / "log"
        self._bin.mkdir()
        for name in FILES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        for name in ("server/src/code.py", "operator/src/code.py", "server/transport/src/lib.rs"):
            self.write(name, "first")
        self.write("tests/install-debian-packages", "#!/bin/sh\nexit 1\n")
        (self.root / "tests/install-debian-packages").chmod(0o755)

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def add_engine(self, name, script=ENGINE):
        (self._bin / name).write_text(script)
        (self._bin / name).chmod(0o755)

    def build(self, *arguments, fails_at="nothing", **env):
        self._log.write_text("")
        return subprocess.run(
            [sys.executable, str(self.root / "tests/images/build_images.py"), *arguments],
            env={
                "PATH": str(self._bin),
                "ENGINE_LOG": str(self._log),
                "FAILS_AT": fails_at,
                "MODELSERVER_CACHE": str(self.cache),
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def commands(self):
        return self._log.read_text().splitlines()

    @property
    def tars(self):
        return sorted((self.cache / "images").glob("*.tar"))


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


@pytest.fixture
def docker(tree):
    tree.add_engine("docker")
    return tree


def test_it_says_where_the_tars_are(docker):
    done = docker.build("server", "operator")

    assert done.returncode == 0, done.stderr
    assert [Path(line) for line in done.stdout.split()] == docker.tars
    assert [tar.name.rpartition("-")[0] for tar in docker.tars] == [
        "modelserver-0.1.0",
        "modelserver-operator-0.1.0",
    ]


def test_an_unchanged_image_is_not_built_again(docker):
    first = docker.build("server")

    again = docker.build("server")

    assert docker.commands == []
    assert again.stdout == first.stdout


@pytest.mark.parametrize(
    "name",
    [
        "server/src/code.py",
        "server/src/new.py",
        "server/transport/Cargo.toml",
        "server/transport/src/lib.rs",
        "server/transport/src/connection/new.rs",
        "requirements/server.txt",
        "Dockerfile.server",
    ],
)
def test_a_changed_file_builds_the_images_that_it_is_in(docker, name):
    docker.build("server", "operator")
    docker.write(name, "changed")

    docker.build("server", "operator")

    builds = [command for command in docker.commands if command.startswith("docker build")]
    assert len(builds) == 1
    assert "-f Dockerfile.server" in builds[0]


def test_another_base_builds_all_anew(docker):
    docker.build("server")

    docker.build("server", BASE_IMAGE="debian@sha256:1")

    assert any("--build-arg=BASE_IMAGE=debian@sha256:1" in command for command in docker.commands)


@pytest.mark.parametrize(
    "name",
    [
        "server/src/__pycache__/code.pyc",
        "server/transport/Cargo.lock",
        "server/transport/target/release/libmodelserver_transport.so",
    ],
)
def test_what_builds_leave_behind_changes_nothing(docker, name):
    docker.build("server")
    docker.write(name, "compiled")

    docker.build("server")

    assert docker.commands == []


def test_a_client_without_a_daemon_is_passed_over(tree):
    tree.add_engine("docker", "#!/bin/sh\nexit 1\n")
    tree.add_engine("podman")

    assert tree.build("server").returncode == 0
    assert tree.commands[0] == "podman info"


def test_without_an_engine_it_says_what_to_install(tree):
    done = tree.build("server")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "make images: start docker, or install podman or buildah, and try again"
    )


def test_a_failed_build_is_named_and_leaves_nothing(docker):
    done = docker.build("server", fails_at="build")

    assert done.returncode == 1
    assert "make images: this failed: docker build" in done.stderr
    assert docker.tars == []


def test_a_tar_that_could_not_be_saved_is_not_left_in_part(docker):
    done = docker.build("server", fails_at="save")

    assert done.returncode == 1
    assert docker.tars == []


def test_a_base_that_is_there_is_not_pulled(docker):
    docker.build("server")

    assert [command for command in docker.commands if "pull" in command] == []


def test_a_base_that_was_asked_for_and_cannot_be_had_is_not_replaced(docker):
    done = docker.build("server", fails_at="inspect pull", BASE_IMAGE="registry/base:1")

    assert done.returncode == 1
    assert "BASE_IMAGE=registry/base:1 cannot be pulled" in done.stderr


def test_old_tars_are_forgotten(docker):
    for content in ("one", "two", "three"):
        docker.write("server/src/code.py", content)
        newest = docker.build("server").stdout.strip()

    assert len(docker.tars) == 2
    assert Path(newest) in docker.tars


def test_an_unknown_image_is_refused_by_name(tree):
    done = tree.build("sever")

    assert done.returncode == 2
    assert "'sever': choose from server, operator, examples" in done.stderr
