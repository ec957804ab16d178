"""A node: containerd, kubelet and kube-proxy in network, mount and PID namespaces of their own."""

import shlex
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from testcluster import cgroups
from testcluster.api import Api
from testcluster.cache import cache_directory
from testcluster.child import Child
from testcluster.network import Network, wait_for_namespace
from testcluster.node_config import NodeLayout
from testcluster.process_identity import ProcessIdentity
from testcluster.waiting import wait_until

# What the kubelet sets for the whole machine, among it a reboot when the kernel reports a fault. In
# the node these are copies.
_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)

# --kill-child: the kernel ends process 1, and with it all others, when unshare is killed.
_UNSHARE = shlex.split("unshare --net --mount --pid --fork --mount-proc --kill-child --")

# Process 1 of the node. It ends when any of the three programs does, and the node with it.
_INIT = """
set -eu
mount -t tmpfs tmpfs /run
mkdir -p /run/containerd /run/netns /run/sysctl /run/cache
mount --bind "$CACHE" /run/cache
for folder in /var/lib /var/log; do  # where the programs write whatever their flags say
    upper=/run/upper$folder work=/run/work$folder
    mkdir -p "$upper" "$work"
    mount -t overlay -o "lowerdir=$folder,upperdir=$upper,workdir=$work" overlay "$folder"
done
case "$CACHE/" in /var/lib/*|/var/log/*) mount --bind /run/cache "$CACHE" ;; esac
umount /run/cache
for name in $SYSCTLS; do
    copy="/run/sysctl/${name##*/}"
    cat "/proc/sys/$name" >"$copy"
    mount --bind "$copy" "/proc/sys/$name"
done
mount --make-rshared /  # volumes that the kubelet mounts must show in the containers
echo 1 >/proc/sys/net/ipv4/ip_forward
until ip route show default | grep -q default; do sleep 0.05; done
containerd --config "$NODE/containerd.toml" >"$LOGS/containerd.log" 2>&1 &
export CONTAINERD_ADDRESS="$NODE/containerd.sock" CONTAINERD_NAMESPACE=k8s.io
until ctr version >/dev/null 2>&1; do sleep 0.05; done
for image in "$@"; do ctr images import "$image"; done
"$BINARY" kubelet --config="$NODE/kubelet.json" --kubeconfig="$KUBECONFIG" \\
    --root-dir="$NODE/kubelet" \\
    --hostname-override="$NAME" --node-ip="$ADDRESS" >"$LOGS/kubelet.log" 2>&1 &
"$BINARY" kube-proxy --config="$NODE/kube-proxy.json" >"$LOGS/kube-proxy.log" 2>&1 &
wait -n
echo "containerd, kubelet or kube-proxy has ended; see $LOGS"
exit 1
"""


class Node:
    """One node, run by the cluster's supervisor. Not thread-safe."""

    def __init__(
        self, layout: NodeLayout, binary: Path, kubeconfig: Path, images: Sequence[Path]
    ) -> None:
        self.layout = layout
        settings = {
            "CACHE": cache_directory(),
            "SYSCTLS": " ".join(_SYSCTLS),
            "NODE": layout.folder,
            "LOGS": self._logs,
            "BINARY": binary,
            "KUBECONFIG": kubeconfig,
            "NAME": layout.name,
            "ADDRESS": layout.address,
        }
        environment = ["env", *(f"{name}={value}" for name, value in settings.items())]
        init = ["bash", "-c", _INIT, layout.name, *map(str, images)]
        self._child = Child(layout.name, [*environment, *_UNSHARE, *init], self._logs / "init.log")

    def start(self, network: Network, api: Api) -> None:
        """Return when the node is Ready (2 to 5 s)."""
        self._write_config()
        cgroups.make(self.layout.cgroup)
        self._child.start()
        wait_for_namespace(self._child)
        network.connect(self.layout.number, self._child.pid)
        name = self.layout.name

        def check() -> None:
            self._child.check()
            network.check()

        wait_until(lambda: _is_ready(api, name), f"{name} to be ready", check=check)

    def stop(self) -> None:
        """End all processes of the node and wait for that; its mounts and network end with them."""
        for init in self._children_of_unshare():
            init.end(signal.SIGKILL, seconds=30.0)
        self._child.kill()
        cgroups.remove(self.layout.cgroup)
        shutil.rmtree(self.layout.folder, ignore_errors=True)

    @property
    def _logs(self) -> Path:
        return self.layout.folder.parent / "logs" / self.layout.name

    def _write_config(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        for name, content in self.layout.config_files().items():
            file = self.layout.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    def _children_of_unshare(self) -> list[ProcessIdentity]:
        """Process 1 of the node: it can be waited for, and is the last of all to end."""
        if not self._child.is_started:
            return []
        pid = self._child.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return [ProcessIdentity.of(int(child)) for child in children]
        except (FileNotFoundError, ProcessLookupError):
            return []


def _is_ready(api: Api, name: str) -> bool:
    node = api.get(f"/api/v1/nodes/{name}") or {}
    conditions = node.get("status", {}).get("conditions", [])
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )
