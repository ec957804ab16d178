"""MLServer over gRPC, with a custom runtime, with and without adaptive batching."""

import json
from dataclasses import replace

from peers.base import NUMPY_MODELS, ONE_THREAD, SERVERS, Command, Peer, Start
from wire import InferWire


def _command(is_batching: bool, start: Start) -> Command:
    http_port, metrics_port = start.ports[1:3]
    settings = {
        "host": "127.0.0.1",
        "grpc_port": start.port,
        "http_port": http_port,
        "metrics_port": metrics_port,
        "debug": False,
        "parallel_workers": 0,
        "use_structured_logging": False,
    }
    (start.folder / "settings.json").write_text(json.dumps(settings))
    for name in start.names:
        _write_model(start, name, is_batching)
    program = start.environment.python.with_name("mlserver")
    variables = {**ONE_THREAD, "PYTHONPATH": str(SERVERS)}
    return Command((str(program), "start", str(start.folder)), variables)


def _write_model(start: Start, name: str, is_batching: bool) -> None:
    directory = start.folder / name
    directory.mkdir()
    settings: dict[str, object] = {
        "name": name,
        "implementation": "mlserver_runtime.NumpyModel",
        "parameters": {"uri": start.model_file},
    }
    if is_batching:
        settings |= {"max_batch_size": start.max_batch_size, "max_batch_time": 0.001}
    (directory / "model-settings.json").write_text(json.dumps(settings))


_MLSERVER = Peer(
    name="mlserver",
    title="MLServer",
    setup="custom runtime in the server's process, no batching",
    wire=InferWire(),
    models=NUMPY_MODELS,
    requirements="mlserver",
    distribution="mlserver",
    command=lambda start: _command(False, start),
)
PEERS = (
    _MLSERVER,
    replace(
        _MLSERVER,
        name="mlserver-batching",
        title="MLServer, batching",
        setup="custom runtime in the server's process, adaptive batching, 1 ms",
        command=lambda start: _command(True, start),
    ),
)
