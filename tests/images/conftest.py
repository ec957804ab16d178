"""The built images, unpacked, and a way to run them as Kubernetes would: with no rights and on a
read-only root file system.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
INSTALL = HERE.parent / "install-debian-packages"
PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
DEV = {
    "destination": "/dev",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["mode=755", "size=64k"],
}
TMP = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}


@dataclass(frozen=True)
class UnpackedImage:
    """An image's root file system and its configuration."""

    root: Path
    config: Mapping[str, Any]

    def start(self, folder: Path, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Run the entry point, or `command`, in a container. `env` and `mounts` are added.

        SIGTERM to the process is passed on.
        """
        bundle = folder / f"bundle-{len(list(folder.glob('bundle-*')))}"
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(self._runtime_config(arguments, **options)))
        name = f"modelserver-test-{os.getpid()}-{folder.name}-{bundle.name}"
        return subprocess.Popen(
            ["runc", "--root", str(folder / "runc"), "run", "--bundle", str(bundle), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _runtime_config(
        self,
        arguments: Sequence[str],
        command: Sequence[str] = (),
        env: Mapping[str, str] = {},
        mounts: Sequence[Mapping[str, object]] = (),
    ) -> Mapping[str, object]:
        uid, gid = map(int, self.config["User"].split(":"))
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": [*(command or self.config["Entrypoint"]), *arguments],
                "env": [*self.config["Env"], *(f"{key}={value}" for key, value in env.items())],
                "cwd": self.config["WorkingDir"],
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.root), "readonly": True},
            "mounts": [PROC, DEV, TMP, *mounts],
            "linux": {"namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount")]},
        }


@pytest.fixture(scope="session")
def server_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnpackedImage]:
    with unpacked("server", tmp_path_factory) as image:
        yield image


@pytest.fixture(scope="session")
def operator_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnpackedImage]:
    with unpacked("operator", tmp_path_factory) as image:
        yield image


@contextmanager
def unpacked(name: str, folders: pytest.TempPathFactory) -> Iterator[UnpackedImage]:
    """Build the image if it is not there yet, and unpack it; a gigabyte is not left lying about."""
    _require_runc()
    builder = [sys.executable, str(HERE / "build_images.py"), name]
    built = subprocess.run(builder, stdout=subprocess.PIPE, text=True, check=True)
    root = folders.mktemp(name)
    root.chmod(0o755)
    try:
        yield UnpackedImage(root, unpack(Path(built.stdout.strip()), root))
    finally:
        shutil.rmtree(root)


def unpack(archive: Path, root: Path) -> Mapping[str, Any]:
    """Unpack a docker-archive's layers over each other; return the image's configuration."""
    with tarfile.open(archive) as image:
        (manifest,) = json.load(image.extractfile("manifest.json"))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                # As `filter=` says it, which the first releases of Python 3.11 do not know.
                files.extraction_filter = lambda member, _: member
                files.extractall(root)
        return json.load(image.extractfile(manifest["Config"]))["config"]


def _require_runc() -> None:
    if os.geteuid() != 0:
        pytest.skip("running an image needs root")
    if shutil.which("runc") is None:
        subprocess.run([INSTALL, "runc"], check=True)
