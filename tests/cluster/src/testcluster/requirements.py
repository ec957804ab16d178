"""What a machine must have to run a node, and how to get it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path

from testcluster.errors import CannotRunError
from testcluster.progress import Say, say_on_stderr, step

INSTALL = Path(__file__).resolve().parents[3] / "install-debian-packages"
_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_CNI_PLUGINS = ("bridge", "host-local", "loopback")
_CNI_PACKAGE = "containernetworking-plugins"
_PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "mount": "mount",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}


def require_node() -> None:
    """Raise CannotRunError, one line, if this machine cannot run a node. Changes nothing."""
    if os.geteuid() != 0:
        raise CannotRunError("a node needs root: run this as root")
    packages = missing_packages(_finds, cni_plugins() is not None)
    if packages:
        raise CannotRunError(
            f"a node needs these Debian packages: tests/{INSTALL.name} {' '.join(packages)}"
        )
    refused = _refusal(
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "mount",
        "-t",
        "tmpfs",
        "x",
        "/run",
    )
    if refused:
        raise CannotRunError(
            f"a node needs namespaces and mounts of its own, which are refused here: {refused}"
        )
    refused = _refusal(
        "unshare",
        "--net",
        "sh",
        "-c",
        "ip link add probe0 type bridge && ip link add probe1 type veth && nft add table probe",
    )
    if refused:
        raise CannotRunError(f"a node needs the kernel's bridge, veth and nf_tables: {refused}")


def install_packages(say: Say = say_on_stderr) -> None:
    """As root, install the Debian packages that a node needs and that are missing."""
    packages = missing_packages(_finds, cni_plugins() is not None)
    if packages and os.geteuid() == 0:
        with step(f"Installing {', '.join(packages)} (about a minute)", say):
            done = subprocess.run([INSTALL, *packages], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise CannotRunError(
                f"a node needs Debian packages; tests/{INSTALL.name} {' '.join(packages)}: {last}"
            )


def missing_packages(finds: Callable[[str], bool], has_cni: bool) -> list[str]:
    """The Debian packages of the programs that are not found. A program from elsewhere will do."""
    packages = {package for program, package in _PACKAGES.items() if not finds(program)}
    return sorted(packages | (set() if has_cni else {_CNI_PACKAGE}))


def cni_plugins(folders: Collection[Path] = _CNI_FOLDERS) -> Path | None:
    """The folder with the network plug-ins."""
    having = (
        folder for folder in folders if all((folder / plugin).exists() for plugin in _CNI_PLUGINS)
    )
    return next(having, None)


def search_path() -> str:
    """PATH, and where administration programs are, which not every PATH names."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def _finds(program: str) -> bool:
    return shutil.which(program, path=search_path()) is not None


def _refusal(*command: str) -> str:
    """What the command says when it fails, else nothing."""
    environment = {**os.environ, "PATH": search_path()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return " ".join(done.stderr.split()) if done.returncode else ""
