"""`make demo`: bring up a cluster, build and load the images, and run the tutorial on it.

With CLUSTER=current it is the cluster of the current kubeconfig: images are handed to kind and
minikube; other clusters must be able to pull them (see docs/kubernetes.md).
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from testcluster import lifetime
from testcluster.cluster import EmbeddedCluster
from testcluster.errors import ClusterError

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ("server", "operator", "examples")


def main() -> int:
    """Returns the exit code of the tutorial, or 1 with one message where it cannot be run."""
    try:
        if os.environ.get("CLUSTER") == "current":
            return on_the_current_cluster()
        return on_a_cluster_of_our_own()
    except (ClusterError, OSError, subprocess.CalledProcessError) as error:
        print(f"make demo: {error}", file=sys.stderr)  # noqa: T201
        return 1


def on_a_cluster_of_our_own() -> int:
    """Run it on the cluster of `make cluster-up`, which goes on running."""
    cluster = lifetime.running("default") or lifetime.start_detached("default")
    if not cluster.nodes:
        lifetime.add_node(cluster)
    tars = built_images()
    load_new(cluster, tars)
    # The tag stays the same when the operator changes: an annotation makes its pod anew.
    values = cluster.state.path / "demo-values.json"
    annotations = {"images": " ".join(tar.stem for tar in tars)}
    values.write_text(json.dumps({"podAnnotations": annotations}))
    volume = cluster.state.path / "demo-volume"
    status = run_tutorial(cluster.env, f"--volume_dir={volume}", f"--values={values}")
    if status == 0:
        kubectl = shutil.which("kubectl", path=cluster.env["PATH"]) or "kubectl"
        print(  # noqa: T201
            "To use this cluster in your shell:\n"
            f"  export KUBECONFIG={cluster.kubeconfig} PATH={Path(kubectl).parent}:$PATH\n"
            "It runs until: make cluster-down"
        )
    return status


def on_the_current_cluster() -> int:
    """Run it on the cluster that kubectl uses."""
    context = subprocess.run(
        ["kubectl", "config", "current-context"], check=True, capture_output=True, text=True
    ).stdout.strip()
    for tar in built_images():
        if context.startswith("kind-"):
            name = f"--name={context.removeprefix('kind-')}"
            subprocess.run(["kind", "load", "image-archive", str(tar), name], check=True)
        elif context == "minikube":
            subprocess.run(["minikube", "image", "load", str(tar)], check=True)
    return run_tutorial(os.environ)


def built_images() -> list[Path]:
    """The images' archives, built where they are not up to date."""
    command = [sys.executable, str(ROOT / "tests/images/build_images.py"), *IMAGES]
    built = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [Path(line) for line in built.stdout.split()]


def load_new(cluster: EmbeddedCluster, tars: list[Path]) -> None:
    """Load what this cluster has not been given before; archives are named after their content."""
    record = cluster.state.path / "loaded-images"
    loaded = record.read_text().split() if record.exists() else []
    for tar in tars:
        if tar.name not in loaded:
            cluster.load_image(tar)
            loaded.append(tar.name)
            record.write_text("\n".join(loaded))


def run_tutorial(env: Mapping[str, str], *flags: str) -> int:
    """Run it as its users do, at the root of the project."""
    command = [sys.executable, "-u", "-m", "mnist.cluster_demo", *flags]
    return subprocess.run(command, env=env, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
