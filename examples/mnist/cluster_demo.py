"""The tutorial on Kubernetes: `python -m mnist.cluster_demo`, which `make demo` runs.

Installs the operator, trains version 1 onto a claim, applies a ModelServer, calls it from a pod
through the cluster's Service, adds version 2 while calls go on, and shows that the error rate fell
and that no call failed. The lines that begin with `$` are the commands of docs/kubernetes.md.
"""

import json
import re
import shutil
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mnist.command_line import CommandLine, run, whole_number
from mnist.kubectl import Kubectl, require_commands, run_quietly, run_shown
from mnist.processes import STOP_SIGNALS, step
from modelserver.errors import InternalError

PROG = "mnist.cluster_demo"
NAMESPACE = "modelserver-demo"
OPERATOR_NAMESPACE = "modelserver-system"
_ROOT = Path(__file__).parents[2]
_MANIFESTS = Path("examples/manifests")
_CHART = "charts/modelserver-operator"
_VOLUME = "modelserver-demo"
_JOB_TIMEOUT_SECONDS = 300.0
_MIN_IMPROVEMENT_POINTS = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo on `argv`, None being the process's own; return its exit status."""
    parser = CommandLine(
        PROG,
        "Install the operator into the current context's cluster, serve a model there, and add a\n"
        "second version while a client keeps calling. Run it from the project's directory.",
        "The exit status is 0 only if version 2 is better and no call failed.",
    )
    parser.add_argument(
        "--values",
        action="append",
        default=[],
        metavar="FILE",
        help="values for the operator's chart, as for helm; may be repeated",
    )
    parser.add_argument(
        "--seconds",
        type=whole_number(10, 600),
        default=30,
        metavar="S",
        help="how long the client goes on calling while version 2 arrives (default: %(default)s)",
    )
    parser.add_argument(
        "--volume_dir",
        type=Path,
        metavar="DIR",
        help="make a volume of this directory of the cluster's only node, where there is no\n"
        "storage class that would make one",
    )
    flags = parser.parse_args(argv)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    return run(PROG, lambda: _run_demo(flags))


def _run_demo(flags: Namespace) -> int:
    require_commands()
    kubectl = Kubectl(NAMESPACE)
    with step("Make a namespace that enforces the restricted profile, and a claim"):
        _start_afresh(kubectl, flags.volume_dir)
    with step("Install the operator"):
        _install_operator(flags.values)
    with step("Train version 1 onto the claim"):
        _run_job(kubectl, "train-1")
    with step("Serve it"):
        kubectl.show("apply", "-f", f"{_MANIFESTS}/modelserver.yaml")
        kubectl.show("wait", "--for=condition=Ready", "msrv/mnist", "--timeout=300s")
    with step("Classify 1000 test images from a pod, through the Service"):
        before = _error_rate(_call(kubectl))
    with step("Train version 2, for longer, where nobody serves it"):
        _run_job(kubectl, "train-2")
    with step(f"Copy version 2 next to version 1 while a client calls for {flags.seconds} s"):
        _switch_under_load(kubectl, flags.seconds)
    with step("What the cluster says"):
        kubectl.show("get", "msrv", "-o", "wide")
        kubectl.show("get", "msrv/mnist", "-o", "jsonpath={.status.models}{'\\n'}")
        kubectl.show("get", "events", "--field-selector=involvedObject.kind=ModelServer")
    with step("Classify 1000 test images with version 2"):
        after = _error_rate(_call(kubectl))
    return _conclude(before, after)


def _start_afresh(kubectl: Kubectl, volume_dir: Path | None) -> None:
    """Remove what an earlier run left, and make the namespace and the claim."""
    run_shown("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found")
    run_shown("kubectl", "apply", "-f", f"{_MANIFESTS}/namespace.yaml")
    if volume_dir:
        run_quietly("kubectl", "delete", "pv", _VOLUME, "--ignore-not-found")
        shutil.rmtree(volume_dir, ignore_errors=True)
        volume_dir.mkdir(parents=True)
        volume = json.dumps(_volume(volume_dir, kubectl.get("nodes")["items"][0]))
        run_quietly("kubectl", "apply", "-f", "-", input=volume)
    kubectl.show("apply", "-f", f"{_MANIFESTS}/claim.yaml")


def _volume(directory: Path, node: Any) -> Any:
    host = node["metadata"]["labels"]["kubernetes.io/hostname"]
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": _VOLUME},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": NAMESPACE, "name": "mnist-models"},
            "local": {"path": str(directory)},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
            },
        },
    }


def _install_operator(values: Sequence[str]) -> None:
    files = [f"--values={path}" for path in values]
    run_shown(
        *("helm", "upgrade", "--install", "modelserver-operator", _CHART),
        *("--namespace", OPERATOR_NAMESPACE, "--create-namespace"),
        *("--wait", "--timeout=180s", "--hide-notes"),
        *files,
    )


def _run_job(kubectl: Kubectl, name: str) -> None:
    kubectl.show("apply", "-f", f"{_MANIFESTS}/{name}.yaml")
    log = kubectl.wait_for_job(name, _JOB_TIMEOUT_SECONDS)
    print("".join(f"   {line}\n" for line in log.splitlines()[-3:]), end="")


def _call(kubectl: Kubectl, *flags: str) -> str:
    """Run mnist_client in a pod, and return what it printed."""
    print(f"$ kubectl -n {NAMESPACE} create -f {_MANIFESTS}/client.yaml", flush=True)
    log = kubectl.wait_for_job(kubectl.create(_client(*flags)), _JOB_TIMEOUT_SECONDS)
    _show_client(log)
    return log


def _switch_under_load(kubectl: Kubectl, seconds: int) -> None:
    client = kubectl.create(_client(f"--for_seconds={seconds}"))
    kubectl.show("wait", "--for=jsonpath={.status.ready}=1", f"job/{client}", "--timeout=60s")
    _run_job(kubectl, "publish-2")
    kubectl.show(
        *("wait", "--for=jsonpath={.status.servingVersions}=mnist:2"),
        *("msrv/mnist", "--timeout=60s"),
    )
    if not kubectl.get(f"job/{client}")["status"].get("active"):
        raise InternalError("the client had ended before version 2 was served; raise --seconds")
    _show_client(kubectl.wait_for_job(client, _JOB_TIMEOUT_SECONDS))


def _client(*flags: str) -> Any:
    job = yaml.safe_load((_ROOT / _MANIFESTS / "client.yaml").read_text())
    job["spec"]["template"]["spec"]["containers"][0]["args"] += flags
    return job


def _show_client(log: str) -> None:
    """Print what a client said, but not its thousands of dots."""
    print("".join(f"   {line}\n" for line in log.splitlines() if line.strip(".")), end="")


def _error_rate(log: str) -> float:
    found = re.search(r"Inference error rate: ([\d.]+)%", log)
    if found is None:
        raise InternalError(f"the client printed no error rate:\n{log}")
    return float(found[1])


def _conclude(before: float, after: float) -> int:
    print(f"\nInference error rate: {before}% with version 1, {after}% with version 2")
    if before - after < _MIN_IMPROVEMENT_POINTS:
        raise InternalError("version 2 should have been better")
    context = run_quietly("kubectl", "config", "current-context").strip()
    print(
        f"\nLook around (context {context}):\n"
        f"  kubectl -n {NAMESPACE} get msrv,deploy,svc,pods\n"
        f"  kubectl -n {NAMESPACE} describe msrv mnist\n"
        "  kubectl explain modelserver.spec\n"
        "Take it down:\n"
        f"  kubectl delete namespace {NAMESPACE}\n"
        f"  helm -n {OPERATOR_NAMESPACE} uninstall modelserver-operator"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
