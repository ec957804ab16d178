"""The configuration files of a node's programs. Pure: from values to the files' text."""

import json
from dataclasses import dataclass
from pathlib import Path

from testcluster.addresses import Addresses
from testcluster.images import PAUSE_IMAGE

_NOWHERE = "http://127.0.0.1:1"


@dataclass(frozen=True)
class NodeLayout:
    """Names and places of one node."""

    number: int
    folder: Path
    addresses: Addresses
    cni_plugins: Path
    keys: Path
    proxy_kubeconfig: Path

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return self.addresses.node(self.number)

    @property
    def cgroup(self) -> str:
        return f"modelserver-testcluster-{self.addresses.slot}-{self.name}"

    @property
    def containerd_socket(self) -> Path:
        return containerd_socket(self.folder)

    def config_files(self) -> dict[str, str]:
        """All files, by their path below the node's folder."""
        return {
            "containerd.toml": containerd_config(self),
            "certs.d/_default/hosts.toml": registry_hosts(),
            "cni/10-bridge.conflist": cni_config(self),
            "kubelet.json": kubelet_config(self),
            "kube-proxy.json": proxy_config(self),
            "resolv.conf": "",  # pods know the names of this cluster and no others
        }


def containerd_socket(node_folder: Path) -> Path:
    return node_folder / "containerd.sock"


def containerd_config(node: NodeLayout) -> str:
    return f"""version = 2
root = "{node.folder}/containerd"
state = "/run/containerd/state"
[grpc]
  address = "{node.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{node.folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE.reference}"
  # Root without CAP_SYS_RESOURCE cannot lower oom_score_adj; without this no pod starts there.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{node.folder}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{node.cni_plugins}"
    conf_dir = "{node.folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def registry_hosts() -> str:
    """All registries are where nobody listens: a pull fails at once, and nothing leaves here."""
    return f"""server = "{_NOWHERE}"
[host."{_NOWHERE}"]
  capabilities = ["pull", "resolve"]
"""


def cni_config(node: NodeLayout) -> str:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,  # a pod may be the backend of its own Service call
        "ipam": {
            "type": "host-local",
            "dataDir": f"{node.folder}/ipam",
            "ranges": [[{"subnet": node.addresses.pods(node.number)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}, indent=1)


def kubelet_config(node: NodeLayout) -> str:
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": ["pods"],
        "clusterDNS": [node.addresses.dns_service],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{node.folder}/resolv.conf",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{node.keys}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,  # no image comes a second time
        "podLogsDir": f"{node.folder}/pod-logs",
        "volumePluginDir": f"{node.folder}/volume-plugins",
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": 20,
    }
    return json.dumps(config, indent=1)


def proxy_config(node: NodeLayout) -> str:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(node.proxy_kubeconfig)},
        "clusterCIDR": node.addresses.cluster_network,
        "hostnameOverride": node.name,
        "bindAddress": node.address,
        # Limits of the whole machine, which are none of the cluster's business.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
    return json.dumps(config, indent=1)
