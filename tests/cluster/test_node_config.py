"""The files with which a node is started."""

import json
from pathlib import Path

import pytest

from testcluster import cgroups, users
from testcluster.addresses import Addresses
from testcluster.node_config import NodeLayout


@pytest.fixture
def layout():
    keys, kubeconfig = Path("/state/pki"), Path("/state/proxy.kubeconfig")
    return NodeLayout(2, Path("/state/node2"), Addresses(1), Path("/cni"), keys, kubeconfig)


def test_a_node_takes_its_addresses_from_its_slot_and_number(layout):
    files = layout.config_files()
    kubelet = json.loads(files["kubelet.json"])
    cni = json.loads(files["cni/10-bridge.conflist"])

    assert kubelet["address"] == "10.88.16.102"
    assert kubelet["clusterDNS"] == ["10.96.16.10"]
    assert cni["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.88.18.0/24"}]]
    assert json.loads(files["kube-proxy.json"])["clusterCIDR"] == "10.88.16.0/20"


def test_a_node_keeps_its_files_in_its_folder_and_its_cgroup_apart(layout):
    files = layout.config_files()
    kubelet = json.loads(files["kubelet.json"])

    assert 'address = "/state/node2/containerd.sock"' in files["containerd.toml"]
    assert kubelet["containerRuntimeEndpoint"] == "unix:///state/node2/containerd.sock"
    assert kubelet["cgroupRoot"] == "/modelserver-testcluster-1-node2"


def test_every_user_has_a_token_of_his_own():
    lines = users.token_file(users.new_tokens()).splitlines()

    assert len({line.split(",")[0] for line in lines}) == len(users.USERS)
    assert any(line.endswith(",system:node:node1,node1,system:nodes") for line in lines)


MOUNTS = """\
proc /proc proc rw 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
tmpfs /sys/fs/cgroup tmpfs rw 0 0
"""


def test_the_cgroup_hierarchies_of_both_versions_are_found():
    found = [str(path) for path in cgroups.hierarchies(MOUNTS)]

    assert found == ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"]
