"""The server's container."""

from modelserver_operator.api import Gpu, ModelServer, Resources
from modelserver_operator.desired.defaults import Defaults
from modelserver_operator.desired.volumes import (
    CONFIG_DIRECTORY,
    CONFIG_FILE,
    cache_env,
    credentials_env,
    mounted_volumes,
)
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed_pods import CONTAINER

GRPC_PORT = 8500
ADMIN_PORT = 8502

PRE_STOP_SECONDS = 5
"""How long a pod goes on serving once it is told to stop: until nobody calls it any more."""

CONNECTION_SECONDS = 20
"""How old a client's connection gets. Within 1.1 times that a stopping pod loses its last one, and
clients of a headless Service find new pods."""

DRAIN_SECONDS = 30
"""How long a pod that no client is connected to any more waits for its last answers."""

_ARGS = [
    f"--port={GRPC_PORT}",
    f"--admin_port={ADMIN_PORT}",
    f"--config_document={CONFIG_DIRECTORY}/{CONFIG_FILE}",
    "--serve_partial",
    f"--max_connection_age_seconds={CONNECTION_SECONDS}",
    f"--drain_seconds={DRAIN_SECONDS}",
]


def server_container(server: ModelServer, defaults: Defaults) -> JsonObject:
    """The container that serves, with everything that `server` says about it."""
    spec = server.spec
    pull_policy = spec.image_pull_policy or defaults.image_pull_policy
    resources = _resources(spec.resources or Resources(), spec.gpu)
    return {
        "name": CONTAINER,
        "image": spec.image or defaults.server_image,
        **({"imagePullPolicy": pull_policy} if pull_policy else {}),
        "args": _ARGS,
        "env": _env(server),
        # What a crash printed last, for the condition that tells of it.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "ports": [
            {"name": "grpc", "containerPort": GRPC_PORT},
            {"name": "admin", "containerPort": ADMIN_PORT},
        ],
        **({"resources": resources} if resources else {}),
        "volumeMounts": [mounted.mount for mounted in mounted_volumes(server)],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        **_probes(),
    }


def _env(server: ModelServer) -> list[JsonObject]:
    spec = server.spec
    given = [variable.to_json() for variable in spec.env]
    names = {variable["name"] for variable in given}
    ours = [*_identity(), *cache_env(spec.cache), *credentials_env(spec.credentials_secret_ref)]
    # Ours first: a value can refer to the variables before it only.
    return [*(variable for variable in ours if variable["name"] not in names), *given]


def _identity() -> list[JsonObject]:
    fields = {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "POD_UID": "metadata.uid",
    }
    return [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in fields.items()
    ]


def _resources(resources: Resources, gpu: Gpu | None) -> JsonObject:
    # Written as text: Kubernetes answers with text whatever it was given.
    requests = {name: str(amount) for name, amount in resources.requests.items()}
    limits = {name: str(amount) for name, amount in resources.limits.items()}
    # An extended resource is given as a limit; its request is equal by definition.
    limits |= {gpu.resource_name: str(gpu.count)} if gpu else {}
    amounts = {"requests": requests, "limits": limits}
    return {bound: amount for bound, amount in amounts.items() if amount}


def _probes() -> JsonObject:
    return {
        # Ten minutes: a node under pressure may take minutes to start a large image's process.
        # Loading models is no part of it, the admin port opens first.
        "startupProbe": _probe("/livez", period_seconds=2, failures=300),
        "readinessProbe": _probe("/readyz", period_seconds=2, failures=3),
        # A minute: restarting a server costs more than a hiccup.
        "livenessProbe": _probe("/livez", period_seconds=10, failures=6),
    }


def _probe(path: str, *, period_seconds: int, failures: int) -> JsonObject:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
