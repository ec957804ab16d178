"""Which transport serves gRPC, and how that is told."""

import pytest

from modelserver.rpc.transport.native import why_not_native

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

DEFAULT = why_not_native() and f"grpcio: {why_not_native()}"


@pytest.mark.parametrize(
    ("flags", "transport"),
    [
        ((), DEFAULT or "the native transport"),
        (("--transport=grpc",), "grpcio: --transport=grpc"),
        (
            ("--grpc_channel_arguments=grpc.foo=1",),
            DEFAULT or "grpcio: --grpc_channel_arguments=grpc.foo=1 is known to grpcio only",
        ),
    ],
)
def test_the_log_says_which_transport_serves_and_why(make_pod, table, model, flags, transport):
    pod = make_pod(*flags)
    pod.write(model("m", table("m", 1, 10)))

    pod.start().wait_until_ready()

    with pod.client() as client:
        assert client.look_up("m") == (1, 10)
    assert f"gRPC is served by {transport}\n" in pod.log.read_text()
