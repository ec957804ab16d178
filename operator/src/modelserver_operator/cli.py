"""The command `modelserver-operator`: flags and environment variables into settings."""

import argparse
import asyncio
import os
import re
import socket
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from modelserver_operator import __version__
from modelserver_operator.logs import set_up_logs
from modelserver_operator.settings import OperatorSettings

N = TypeVar("N", int, float)

ENV_PREFIX = "MODELSERVER_OPERATOR_"
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

_DESCRIPTION = """\
Reconciles ModelServer resources (modelserver.dev): makes Deployments, Services and what else their
pods need, and says in their status which version of which model is where.

Try it against the cluster of your kubeconfig, from your own machine:
  kubectl apply -f crds/
  modelserver-operator --kubeconfig ~/.kube/config --no-leader-elect
From there it cannot reach the pods' admin port 8502, so their versions stay unknown: in a cluster,
install the chart modelserver-operator.
"""

_EPILOG = """\
Every flag has an environment variable, which the flag overrides: --poll-seconds is
MODELSERVER_OPERATOR_POLL_SECONDS. POD_NAME and POD_NAMESPACE say in which pod it runs.

It listens on one port: /livez, /readyz and /metrics. It ends with 0 when told to stop by SIGTERM,
and with 1 when it has to be started anew: leadership lost, or a watch that cannot be mended.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's arguments) until told to stop.

    Returns the exit code; bad usage exits with 2.
    """
    settings = parse(argv, os.environ)
    set_up_logs(settings.log_level, settings.log_format)
    # Imported here because it takes a second that --help and a typo should not cost.
    from modelserver_operator.main import run

    return asyncio.run(run(settings))


def parse(argv: Sequence[str] | None, environ: Mapping[str, str]) -> OperatorSettings:
    """Read flags, and environment variables for those that are not given.

    Exits with 2, and says why, when one of them makes no sense.
    """
    parser = _parser(environ)
    given = sys.argv[1:] if argv is None else argv
    arguments = parser.parse_args([*_from_variables(parser, environ), *given])
    kubeconfig = arguments.kubeconfig or _default_kubeconfig(environ)
    if kubeconfig is not None and not kubeconfig.is_file():
        parser.error(f"--kubeconfig: there is no file {kubeconfig}")
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" not in environ:
        parser.error("not in a pod and no ~/.kube/config: say with --kubeconfig which cluster")
    return OperatorSettings(
        server_image=arguments.server_image,
        identity=_identity(environ),
        namespaces=arguments.namespaces,
        image_pull_policy=arguments.server_image_pull_policy,
        image_pull_secrets=arguments.server_image_pull_secrets,
        kubeconfig=kubeconfig,
        pod_namespace=environ.get("POD_NAMESPACE", ""),
        leader_elect=arguments.leader_elect,
        lease_name=arguments.lease_name,
        lease_namespace=arguments.lease_namespace,
        health_host=arguments.health_host,
        health_port=arguments.health_port,
        poll_seconds=arguments.poll_seconds,
        resync_seconds=arguments.resync_seconds,
        workers=arguments.workers,
        log_level=arguments.log_level,
        log_format=arguments.log_format,
    )


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modelserver-operator",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    version = f"modelserver-operator {__version__}"
    parser.add_argument("--version", action="version", version=version)
    _add_scope(parser.add_argument_group("which cluster, and what in it"))
    _add_defaults(parser.add_argument_group("what ModelServers get where they do not say"))
    own_namespace = environ.get("POD_NAMESPACE") or "default"
    _add_election(parser.add_argument_group("several replicas"), own_namespace)
    _add_working(parser.add_argument_group("how it works"))
    return parser


def _from_variables(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> list[str]:
    """The flags that the environment sets, to be checked as if they had been given."""
    flags: list[str] = []
    for action in parser._actions:
        name = action.option_strings[0].removeprefix("--")
        text = environ.get(ENV_PREFIX + name.replace("-", "_").upper())
        if text is None or action.dest in ("help", "version"):
            continue
        if isinstance(action, argparse.BooleanOptionalAction):
            flags.append(_switch(parser, name, text))
        else:
            flags.append(f"--{name}={text}")
    return flags


def _switch(parser: argparse.ArgumentParser, name: str, text: str) -> str:
    if text.lower() in ("true", "1", "yes", "on"):
        return f"--{name}"
    if text.lower() not in ("false", "0", "no", "off"):
        parser.error(f"--{name}: {text!r} is neither true nor false")
    return f"--no-{name}"


def _add_scope(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        help="the cluster to work in; without it the one that the operator's pod is in, or else "
        "that of $KUBECONFIG or ~/.kube/config",
    )
    group.add_argument(
        "--namespaces",
        type=_namespaces,
        default=(),
        metavar="NAMES",
        help="look after the ModelServers in these only, comma-separated; without it in all",
    )


def _add_defaults(group: argparse._ArgumentGroup) -> None:
    image = f"localhost/modelserver:{__version__}"
    group.add_argument(
        "--server-image",
        default=image,
        metavar="IMAGE",
        help="the image of the model server; a new one changes no pod that runs already "
        f"(default: {image})",
    )
    group.add_argument(
        "--server-image-pull-policy",
        choices=("", "Always", "IfNotPresent", "Never"),
        default="",
        metavar="POLICY",
        help="when nodes pull it: Always, IfNotPresent or Never; without it Kubernetes decides",
    )
    group.add_argument(
        "--server-image-pull-secrets",
        type=_names,
        default=(),
        metavar="NAMES",
        help="Secrets, in the ModelServers' namespaces, to pull it with, comma-separated",
    )


def _add_election(group: argparse._ArgumentGroup, own_namespace: str) -> None:
    group.add_argument(
        "--leader-elect",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="work only while holding a Lease, so that several replicas may run (default: yes)",
    )
    group.add_argument(
        "--lease-name",
        default="modelserver-operator",
        metavar="NAME",
        help="that Lease (default: modelserver-operator)",
    )
    group.add_argument(
        "--lease-namespace",
        default=own_namespace,
        metavar="NAMESPACE",
        help="where it is (default: the pod's own namespace; outside a pod, default)",
    )


def _add_working(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--poll-seconds",
        type=_number(float, 0.5, 60),
        default=4.0,
        metavar="SECONDS",
        help="ask each pod for its versions this often, ± 25 %% (default: 4)",
    )
    group.add_argument(
        "--resync-seconds",
        type=_number(float, 1, 600),
        default=8.0,
        metavar="SECONDS",
        help="list everything this often, metadata only, to notice what a watch has not delivered "
        "(default: 8)",
    )
    group.add_argument(
        "--workers",
        type=_number(int, 1, 64),
        default=8,
        metavar="N",
        help="ModelServers to work on at the same time (default: 8)",
    )
    _add_outlets(group)


def _add_outlets(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--health-host", default="", metavar="ADDRESS", help="listen there only; without it on all"
    )
    group.add_argument(
        "--health-port",
        type=_number(int, 0, 65535),
        default=8080,
        metavar="PORT",
        help="port of /livez, /readyz and /metrics; 0 takes any (default: 8080)",
    )
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        metavar="LEVEL",
        help="debug, info, warning or error (default: info)",
    )
    group.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        metavar="FORMAT",
        help="text or json (default: text)",
    )


def _number(kind: type[N], least: float, most: float) -> Callable[[str], N]:
    def parse_number(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            value = kind(least - 1)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")
        return value

    return parse_number


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _namespaces(text: str) -> tuple[str, ...]:
    names = _names(text)
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise argparse.ArgumentTypeError(f"{name!r} is no name of a namespace")
    return names


def _default_kubeconfig(environ: Mapping[str, str]) -> Path | None:
    if "KUBERNETES_SERVICE_HOST" in environ:
        return None
    if environ.get("KUBECONFIG"):
        return Path(environ["KUBECONFIG"])
    usual = Path(environ.get("HOME", "/")) / ".kube" / "config"
    return usual if usual.is_file() else None


def _identity(environ: Mapping[str, str]) -> str:
    return f"{environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"
