"""gRPC's own Python servers without batching: what a hand-written server of a few lines does."""

from dataclasses import replace
from pathlib import Path

import modelserver.rpc
from peers.base import NUMPY_MODELS, Command, Peer, Start, run_script
from wire import EchoWire, PredictWire

_DESCRIPTORS = Path(modelserver.rpc.__file__).with_name("descriptors.binpb")


def _command(mode: str, start: Start) -> Command:
    arguments = (mode, str(start.port), start.model_file, str(_DESCRIPTORS))
    return run_script(start, "grpcio_server.py", *arguments)


SYNC = Peer(
    name="grpcio",
    title="grpcio server",
    setup="pool of 16 threads, one request at a time, no batching",
    wire=PredictWire(),
    models=NUMPY_MODELS,
    requirements="grpcio",
    distribution="grpcio",
    command=lambda start: _command("sync", start),
)
PEERS = (
    SYNC,
    replace(
        SYNC,
        name="grpc-aio",
        title="grpc.aio server",
        setup="one event loop, one request at a time, no batching",
        command=lambda start: _command("aio", start),
    ),
    replace(
        SYNC,
        name="grpc-aio-echo",
        title="grpc.aio echo",
        setup="one event loop; sends each request back unread",
        wire=EchoWire(),
        models=frozenset({"softmax"}),
        command=lambda start: _command("echo", start),
    ),
)
