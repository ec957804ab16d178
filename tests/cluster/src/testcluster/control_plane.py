"""etcd, API server, controller manager and scheduler, on 127.0.0.1."""

from dataclasses import dataclass
from pathlib import Path

from testcluster.addresses import Addresses, free_ports
from testcluster.api import Api
from testcluster.certificates import make_certificates
from testcluster.child import Child
from testcluster.state import StateDirectory
from testcluster.users import USERS, kubeconfig, new_tokens, token_file
from testcluster.waiting import wait_until

Command = list[str]


@dataclass(frozen=True)
class Ports:
    """All on 127.0.0.1."""

    etcd: int
    etcd_peer: int
    api: int


class ControlPlane:
    """The control plane of one cluster, run by its supervisor. Not thread-safe."""

    def __init__(self, state: StateDirectory, addresses: Addresses, binary: Path) -> None:
        self._state = state
        self._addresses = addresses
        self.ports = Ports(*free_ports(addresses.ports, 3))
        keys = state.keys
        commands = {
            "etcd": etcd_command(self.ports, state.path / "etcd"),
            "kube-apiserver": api_server_command(self.ports, addresses, keys),
            "kube-controller-manager": controller_manager_command(state, addresses),
            "kube-scheduler": scheduler_command(state),
        }
        self._children = {
            name: Child(name, [str(binary), name, *command], state.log(name))
            for name, command in commands.items()
        }

    def start(self) -> None:
        """Return when the API is ready and namespaces get their ServiceAccounts (4 to 10 s)."""
        make_certificates(self._state.keys, self._addresses)
        self._write_users()
        self._children["etcd"].start()
        self._start_api_server()
        # Before that, these two end at once: their rights are among what the API server sets up.
        self._children["kube-controller-manager"].start()
        self._children["kube-scheduler"].start()
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_until(lambda: self._api().answers(account), "the controller manager", check=self.check)

    def restart_api_server(self) -> None:
        """Kill the API server and start it anew, on the same port. Return when it is ready."""
        self._children["kube-apiserver"].kill()
        self._start_api_server()

    def check(self) -> None:
        """Raise ClusterError if a component has ended by itself."""
        for child in self._children.values():
            child.check()

    def stop(self) -> None:
        """End everything at once; its data is not kept."""
        for child in reversed(self._children.values()):
            child.kill()

    def _start_api_server(self) -> None:
        self._children["kube-apiserver"].start()
        wait_until(lambda: self._api().answers("/readyz"), "the API server", check=self.check)

    def _write_users(self) -> None:
        tokens = new_tokens()
        (self._state.keys / "tokens.csv").write_text(token_file(tokens))
        ca = (self._state.keys / "ca.crt").read_bytes()
        for user in USERS:
            # A node comes by way of the host's address on its network.
            host = (
                self._addresses.host
                if user.key == "proxy" or user.key.startswith("node")
                else "127.0.0.1"
            )
            content = kubeconfig(f"{host}:{self.ports.api}", ca, tokens[user.key])
            self._state.kubeconfig_of(user.key).write_text(content)

    def _api(self) -> Api:
        return Api(self._state.kubeconfig)


def etcd_command(ports: Ports, data: Path) -> Command:
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    return [
        f"--data-dir={data}",
        "--unsafe-no-fsync",  # the data does not outlive the cluster
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def api_server_command(ports: Ports, addresses: Addresses, keys: Path) -> Command:
    return [
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.api}",
        f"--advertise-address={addresses.host}",  # pods come this way; no loopback
        f"--service-cluster-ip-range={addresses.services}",
        f"--tls-cert-file={keys}/apiserver.crt",
        f"--tls-private-key-file={keys}/apiserver.key",
        f"--client-ca-file={keys}/ca.crt",
        f"--token-auth-file={keys}/tokens.csv",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys}/sa.pub",
        f"--service-account-signing-key-file={keys}/sa.key",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",  # the nodes' names resolve nowhere
        f"--kubelet-client-certificate={keys}/kubelet-client.crt",
        f"--kubelet-client-key={keys}/kubelet-client.key",
        f"--requestheader-client-ca-file={keys}/ca.crt",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-allowed-names=front-proxy",
        f"--proxy-client-cert-file={keys}/proxy-client.crt",
        f"--proxy-client-key-file={keys}/proxy-client.key",
    ]


def controller_manager_command(state: StateDirectory, addresses: Addresses) -> Command:
    keys, kubeconfig_file = state.keys, state.kubeconfig_of("controllers")
    return [
        f"--kubeconfig={kubeconfig_file}",
        f"--authentication-kubeconfig={kubeconfig_file}",
        f"--authorization-kubeconfig={kubeconfig_file}",
        "--secure-port=0",  # nobody asks it for metrics
        "--leader-elect=false",
        f"--service-account-private-key-file={keys}/sa.key",
        f"--root-ca-file={keys}/ca.crt",
        "--use-service-account-credentials=true",
        f"--cluster-signing-cert-file={keys}/ca.crt",
        f"--cluster-signing-key-file={keys}/ca.key",
        f"--service-cluster-ip-range={addresses.services}",
        "--node-monitor-grace-period=20s",
        # With the default limits the many controllers wait for each other for 4 s at the start.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


def scheduler_command(state: StateDirectory) -> Command:
    kubeconfig_file = state.kubeconfig_of("scheduler")
    return [
        f"--kubeconfig={kubeconfig_file}",
        f"--authentication-kubeconfig={kubeconfig_file}",
        f"--authorization-kubeconfig={kubeconfig_file}",
        "--secure-port=0",
        "--leader-elect=false",
    ]
