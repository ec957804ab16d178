"""The `restricted` Pod Security Standard as a function, for tests of everything that makes pods.

What Linux pods are held to. Source: kubernetes.io/docs/concepts/security/pod-security-standards,
Kubernetes 1.34. Where a test has an API server, that one is asked, too.
"""

from collections.abc import Callable, Iterable

from modelserver_operator.json_types import JsonObject

_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    }
)
_SECCOMP = ("RuntimeDefault", "Localhost")
_APP_ARMOR = ("RuntimeDefault", "Localhost")
_SELINUX = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")


def restricted_violations(pod_spec: JsonObject) -> list[str]:
    """What in a PodSpec the profile `restricted` does not allow; empty where it allows all."""
    found = [name for name, holds in _POD_RULES.items() if not holds(pod_spec)]
    for container in _containers(pod_spec):
        found += [
            f"{container.get('name')}: {name}"
            for name, holds in _CONTAINER_RULES.items()
            if not holds(container, pod_spec)
        ]
    return found


def _containers(pod_spec: JsonObject) -> Iterable[JsonObject]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod_spec.get(kind) or ()


def _context(of: JsonObject) -> JsonObject:
    return of.get("securityContext") or {}


def _either(container: JsonObject, pod_spec: JsonObject, field: str) -> object:
    """A field that a container's security context has from the pod's unless it sets it."""
    return _context(container).get(field, _context(pod_spec).get(field))


def _uses_allowed_types(of: JsonObject) -> bool:
    context = _context(of)
    options = context.get("seLinuxOptions") or {}
    profile = context.get("appArmorProfile") or {"type": "RuntimeDefault"}
    return (
        options.get("type", "") in _SELINUX
        and not (options.get("user") or options.get("role"))
        and profile.get("type") in _APP_ARMOR
    )


def _drops_all(container: JsonObject) -> bool:
    capabilities = _context(container).get("capabilities") or {}
    added = set(capabilities.get("add") or ())
    return "ALL" in (capabilities.get("drop") or ()) and added <= {"NET_BIND_SERVICE"}


def _has_seccomp(container: JsonObject, pod_spec: JsonObject) -> bool:
    profile = _either(container, pod_spec, "seccompProfile")
    return isinstance(profile, dict) and profile.get("type") in _SECCOMP


def _probes_own_pod(container: JsonObject) -> bool:
    lifecycle = (container.get("lifecycle") or {}).values()
    probes = [container.get(f"{kind}Probe") or {} for kind in ("liveness", "readiness", "startup")]
    handlers = [action.get(kind) or {} for action in (*lifecycle, *probes) for kind in _CALLS]
    return not any(handler.get("host") for handler in handlers)


_CALLS = ("httpGet", "tcpSocket")

_POD_RULES: dict[str, Callable[[JsonObject], bool]] = {
    "no host namespaces": lambda pod: (
        not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    ),
    "only volumes that are not the host's": lambda pod: all(
        volume.keys() - {"name"} <= _VOLUMES for volume in pod.get("volumes") or ()
    ),
    "only safe sysctls": lambda pod: all(
        sysctl["name"] in _SYSCTLS for sysctl in _context(pod).get("sysctls") or ()
    ),
    "SELinux and AppArmor types of the pod": _uses_allowed_types,
    "pod: not as root": lambda pod: _context(pod).get("runAsUser") != 0,
    "pod: no Windows host process": lambda pod: (
        not (_context(pod).get("windowsOptions") or {}).get("hostProcess")
    ),
}

_CONTAINER_RULES: dict[str, Callable[[JsonObject, JsonObject], bool]] = {
    "not privileged": lambda container, _: not _context(container).get("privileged"),
    "no privilege escalation": lambda container, _: (
        _context(container).get("allowPrivilegeEscalation") is False
    ),
    "drops all capabilities": lambda container, _: _drops_all(container),
    "runs as non-root": lambda container, pod: _either(container, pod, "runAsNonRoot") is True,
    "not as user 0": lambda container, _: _context(container).get("runAsUser") != 0,
    "seccomp": _has_seccomp,
    "proc as usual": lambda container, _: (
        _context(container).get("procMount", "Default") == "Default"
    ),
    "no host ports": lambda container, _: all(
        not port.get("hostPort") for port in container.get("ports") or ()
    ),
    "SELinux and AppArmor types": lambda container, _: _uses_allowed_types(container),
    "probes and hooks stay in the pod": lambda container, _: _probes_own_pod(container),
}
