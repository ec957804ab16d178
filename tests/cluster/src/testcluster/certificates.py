"""The keys and certificates of one cluster, made with the openssl command."""

import shutil
import subprocess
from pathlib import Path

from testcluster.addresses import Addresses
from testcluster.errors import CannotRunError, ClusterError

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
_DAYS = "3650"
_API_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


def make_certificates(folder: Path, addresses: Addresses) -> None:
    """Fill the folder with NAME.crt and NAME.key of a CA `ca`, of `apiserver` (a server), of
    `kubelet-client` and `proxy-client` (what the API server is towards kubelets and extension API
    servers), and with sa.key and sa.pub, which sign ServiceAccount tokens.
    """
    folder.mkdir(parents=True)
    _openssl(
        folder,
        "req",
        "-x509",
        *_NEW_KEY,
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
        "-days",
        _DAYS,
        "-subj",
        "/CN=testcluster-ca",
    )
    _sign(folder, "apiserver", "/CN=kube-apiserver", api_server_names(addresses))
    _sign(
        folder, "kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client", "DNS:apiserver"
    )
    _sign(folder, "proxy-client", "/CN=front-proxy", "DNS:front-proxy")
    _openssl(
        folder,
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "sa.key",
    )
    _openssl(folder, "pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def api_server_names(addresses: Addresses) -> str:
    """The subjectAltName of the API server: all ways by which clients come to it."""
    ips = ("127.0.0.1", addresses.api_service, addresses.host)
    return ",".join([*(f"IP:{ip}" for ip in ips), *(f"DNS:{name}" for name in _API_NAMES)])


def _sign(folder: Path, name: str, subject: str, alternative_names: str) -> None:
    extensions = folder / f"{name}.ext"
    extensions.write_text(
        f"subjectAltName={alternative_names}\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    _openssl(
        folder, "req", *_NEW_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject
    )
    authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", _DAYS]
    files = ["-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", extensions.name]
    _openssl(folder, "x509", "-req", *authority, *files)


def _openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    if not program:
        raise CannotRunError(
            "the test cluster needs the command openssl: tests/install-debian-packages openssl"
        )
    done = subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ClusterError(f"openssl {' '.join(arguments)} failed in {folder}:\n{done.stderr}")
