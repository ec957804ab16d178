"""The cluster's DNS: CoreDNS in the cluster, and one question to it from outside."""

import json
import socket
import struct
from typing import Any

from testcluster.images import COREDNS_IMAGE

_TIMEOUT_SECONDS = 1.0
_METADATA = {"name": "coredns", "namespace": "kube-system"}
# Names of other places are refused at once: there is no way out of the cluster.
_COREFILE = """.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      ttl 5
    }
    cache 5
}
"""


def manifests(service_ip: str) -> str:
    """Everything of CoreDNS, as one JSON list for kubectl apply."""
    items = [*_rights(), _config(), _deployment(), _service(service_ip)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def answers(service_ip: str) -> bool:
    """Whether the DNS service resolves a name now, asked from this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(_TIMEOUT_SECONDS)
        try:
            client.connect((service_ip, 53))
            client.send(query("kubernetes.default.svc.cluster.local"))
            return has_address(client.recv(512))
        except OSError:
            return False


def query(name: str) -> bytes:
    """A DNS question for the IPv4 address of a name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)


def has_address(answer: bytes) -> bool:
    """Whether a DNS answer is without error and not empty."""
    flags: int
    count: int
    flags, _, count = struct.unpack_from(">3H", answer, 2)
    return flags & 0x800F == 0x8000 and count > 0


def _rights() -> list[dict[str, Any]]:
    rbac = "rbac.authorization.k8s.io"
    core = {
        "apiGroups": [""],
        "resources": ["endpoints", "services", "pods", "namespaces"],
        "verbs": ["list", "watch"],
    }
    slices = {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["list", "watch"],
    }
    role = {"name": "system:coredns"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _METADATA},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": role,
            "rules": [core, slices],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": role,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", **role},
            "subjects": [{"kind": "ServiceAccount", **_METADATA}],
        },
    ]


def _config() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _METADATA,
        "data": {"Corefile": _COREFILE},
    }


def _deployment() -> dict[str, Any]:
    labels = {"k8s-app": "kube-dns"}
    container = {
        "name": "coredns",
        "image": COREDNS_IMAGE.reference,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5},
        "securityContext": {"readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        # For port 53 without a capability, which the program's file would have to carry too.
        "securityContext": {
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
        },
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _METADATA, "spec": spec}


def _service(service_ip: str) -> dict[str, Any]:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]
    spec = {"clusterIP": service_ip, "selector": {"k8s-app": "kube-dns"}, "ports": ports}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": spec,
    }
