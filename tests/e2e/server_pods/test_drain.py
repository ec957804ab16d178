"""SIGTERM: what was accepted is answered, and who uses a Service notices nothing."""

import random
import signal
import socket
import threading
from contextlib import ExitStack, closing, suppress

import pytest

from modelserver.rpc.transport.native import why_not_native

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

NATIVE = pytest.param(
    "--transport=native",
    marks=pytest.mark.skipif(bool(why_not_native()), reason=why_not_native() or "it is there"),
)


@pytest.mark.parametrize("transport", [NATIVE, "--transport=grpc"])
def test_sigterm_takes_readiness_away_and_answers_what_was_accepted(
    make_pod, table, model, transport
):
    base_path = table("m", 1, 10)
    batching = {
        "maxBatchSize": 100,
        "timeoutMicros": 3_000_000,
    }  # accepted calls wait three seconds
    pod = make_pod(transport)
    pod.write(model("m", base_path, batching=batching))
    pod.start().wait_until_ready()
    answers = []
    with pod.client() as client:
        callers = [
            threading.Thread(target=lambda: answers.append(client.look_up("m"))) for _ in range(4)
        ]
        for caller in callers:
            caller.start()
        pod.eventually(lambda: pod.report()["progress"]["callsInFlight"] == 4)

        pod.process.send_signal(signal.SIGTERM)
        pod.eventually(lambda: pod.get("/readyz")[2].startswith(b"draining"))
        assert pod.report()["draining"] is True
        for caller in callers:
            caller.join()

    assert answers == [(1, 10)] * 4
    assert pod.process.wait(60) == 0


class Service:
    """What a Kubernetes Service is to clients: new connections go to one of its endpoints, those
    that stand stay where they are.
    """

    def __init__(self):
        self.endpoints = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listening]
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", random.choice(self.endpoints)))
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param((NATIVE.values[0],), id="native", marks=NATIVE.marks),
        pytest.param(
            (NATIVE.values[0], "--max_connection_age_seconds=2"),
            id="native-age",
            marks=NATIVE.marks,
        ),
        pytest.param(("--transport=grpc", "--max_connection_age_seconds=2"), id="grpc-age"),
    ],
)
def test_a_pod_that_is_replaced_under_load_fails_no_call_of_clients_of_the_service(
    make_pod, table, model, flags
):
    base_path = table("m", 1, 10)
    first, second = pods = [make_pod(*flags) for _ in range(2)]
    for pod in pods:
        pod.write(model("m", base_path))
        pod.start().wait_until_ready()
    with closing(Service()) as service, ExitStack() as calls:
        service.endpoints = [pod.port for pod in pods]
        clients = [calls.enter_context(first.client(service.port)) for _ in range(8)]
        outcomes = [calls.enter_context(client.looking_up("m", threads=1)) for client in clients]
        first.eventually(lambda: call_count(first) > 50 and call_count(second) > 50)

        service.endpoints = [second.port]  # the pod is being deleted: it has left the endpoints
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(60) == 0
        called = call_count(second)
        second.eventually(lambda: call_count(second) > called + 50)

    assert outcomes == [({(1, 10)}, [])] * len(clients)


def call_count(pod):
    return pod.metric('modelserver_rpc_calls_total{code="OK",method="/tensorflow.serving.Pred')
