"""TLS: certificates come from a file, and a renewed one is used without a restart."""

import grpc
import pytest

from modelserver.rpc.transport.native import why_not_native

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

NATIVE = pytest.param(
    "--transport=native",
    marks=pytest.mark.skipif(bool(why_not_native()), reason=why_not_native() or "it is there"),
)


def write_certificates(path, authority):
    chain, key = (pem.decode().replace("\n", "\\n") for pem in authority.issue())
    partial = path.with_suffix(".new")
    partial.write_text(f"server_cert: '{chain}'\nserver_key: '{key}'\n")
    partial.rename(path)


def is_trusted(port, authority):
    """Whether a new connection that trusts the authority comes about."""
    credentials = grpc.ssl_channel_credentials(authority.certificate)
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check").future(b"", timeout=20)
        return call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize("transport", [NATIVE, "--transport=grpc"])
def test_renewed_certificates_are_used_and_spoilt_ones_are_not(
    make_pod, table, model, make_authority, tmp_path, transport
):
    file = tmp_path / "ssl.pbtxt"
    old, new = make_authority(), make_authority()
    write_certificates(file, old)
    pod = make_pod(transport, f"--ssl_config_file={file}")
    pod.write(model("m", table("m", 1, 10)))
    pod.start().wait_until_ready()
    assert is_trusted(pod.port, old)
    assert not is_trusted(pod.port, new)

    file.write_text("server_cert: 'half of it")
    pod.eventually(lambda: "is not a SSLConfig" in pod.log.read_text())
    assert is_trusted(pod.port, old)

    write_certificates(file, new)
    pod.eventually(lambda: is_trusted(pod.port, new))
    assert not is_trusted(pod.port, old)
    assert "PRIVATE KEY" not in pod.log.read_text()
