"""The command `python -m testcluster`: a cluster to try things with, beside those of tests."""

import argparse
import shlex
import sys
from collections.abc import Sequence

from testcluster import binaries, lifetime
from testcluster.cluster import EmbeddedCluster
from testcluster.errors import ClusterError
from testcluster.images import OF_EVERY_NODE, WEBAPP_IMAGE

_NAME = "default"
_DESCRIPTION = """\
A real Kubernetes on this machine: control plane on 127.0.0.1, nodes in network namespaces.
The first start builds it with Go (about 10 minutes); later ones take about 10 seconds.
"""
_EXAMPLES = """\
examples:
  python -m testcluster up                      one node; says how to use kubectl and helm
  python -m testcluster up --nodes 0            the API alone; needs no root
  python -m testcluster load-image server.tar   an image for pods with imagePullPolicy: IfNotPresent
  python -m testcluster down

There is no image registry and no way out of the cluster: images are loaded. Pods, Services and
this machine reach each other by address. With CLUSTER=current and KUBECONFIG, pytest runs its tests
on this cluster or any other.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with one message on standard error."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except ClusterError as error:
        print(f"testcluster: {error}", file=sys.stderr)  # noqa: T201  # the answer to whoever typed it
        return 1
    return 0


def _build(arguments: argparse.Namespace) -> None:
    known = {program.name: program for program in binaries.ALL}
    unknown = set(arguments.programs) - set(known)
    if unknown:
        raise ClusterError(
            f"There is no program {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    for name in arguments.programs or known:
        _tell(f"{name:18} {known[name].build()}")
    if not arguments.programs:
        for image in (*OF_EVERY_NODE, WEBAPP_IMAGE):
            _tell(f"{image.reference:18} {image.archive()}")


def _up(arguments: argparse.Namespace) -> None:
    cluster = lifetime.start_detached(arguments.name)
    for _ in range(arguments.nodes - len(cluster.nodes)):
        lifetime.add_node(cluster)
    default = arguments.name == _NAME
    down = "make cluster-down" if default else f"python -m testcluster down --name {arguments.name}"
    _tell(
        f"The cluster {arguments.name} runs with {len(cluster.nodes)} node(s). To use it:\n"
        f"  export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}\n"
        f"  export PATH={shlex.quote(str(binaries.command_folder()))}:$PATH\n"
        "  kubectl get pods --all-namespaces\n"
        f"It goes on until: {down}"
    )


def _down(arguments: argparse.Namespace) -> None:
    cluster = lifetime.running(arguments.name)
    if cluster:
        lifetime.stop(cluster)
    lifetime.clear_leftovers()
    _tell(f"The cluster {arguments.name} {'is stopped' if cluster else 'was not running'}.")


def _status(_arguments: argparse.Namespace) -> None:
    clusters = lifetime.all_running()
    for cluster in clusters:
        nodes = ", ".join(cluster.nodes) or "no nodes"
        _tell(f"{cluster.state.name}: {nodes}; {cluster.kubeconfig}; logs in {cluster.state.logs}")
    if not clusters:
        _tell("No cluster is running.")


def _load_image(arguments: argparse.Namespace) -> None:
    cluster = _running(arguments.name)
    if arguments.node and arguments.node not in cluster.nodes:
        raise ClusterError(
            f"There is no node {arguments.node}; there are {', '.join(cluster.nodes) or 'none'}"
        )
    cluster.load_image(arguments.image, arguments.node)


def _kubeconfig(arguments: argparse.Namespace) -> None:
    _tell(str(_running(arguments.name).kubeconfig))


def _running(name: str) -> EmbeddedCluster:
    cluster = lifetime.running(name)
    if not cluster:
        raise ClusterError(f"The cluster {name} is not running: python -m testcluster up")
    return cluster


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # the command's result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m testcluster",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser(
        "build", help="build all programs and images, or the named, and say where they are"
    )
    build.add_argument(
        "programs", nargs="*", metavar="PROGRAM", help=", ".join(p.name for p in binaries.ALL)
    )
    build.set_defaults(run=_build)
    up = _named(
        commands.add_parser(
            "up", help="start the cluster, or add what is missing; it goes on until `down`"
        )
    )
    up.add_argument(
        "--nodes",
        type=int,
        default=1,
        choices=range(10),
        metavar="N",
        help="at least so many nodes (1)",
    )
    up.set_defaults(run=_up)
    down = _named(commands.add_parser("down", help="end the cluster; nothing of it is kept"))
    down.set_defaults(run=_down)
    commands.add_parser(
        "status", help="say which clusters run, and where their logs are"
    ).set_defaults(run=_status)
    load = _named(commands.add_parser("load-image", help="import an image archive into the nodes"))
    load.add_argument("image", help="a file of `docker save` or an OCI layout, or webapp")
    load.add_argument("--node", metavar="NODE", help="into this node only")
    load.set_defaults(run=_load_image)
    kubeconfig = _named(commands.add_parser("kubeconfig", help="print the path of its kubeconfig"))
    kubeconfig.set_defaults(run=_kubeconfig)
    return parser


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--name", default=_NAME, help=f"which cluster, if there are several ({_NAME})"
    )
    return parser
