"""KServe's Python SDK over gRPC. It does not batch: in a cluster, a side-car does."""

from peers.base import NUMPY_MODELS, Command, Peer, Start, run_script
from wire import InferWire


def _command(start: Start) -> Command:
    model_file = start.model.base_path / "1" / "model.npz"
    ports = (str(start.port), str(start.ports[1]))
    command = run_script(start, "kserve_server.py", start.names[0], *ports, str(model_file))
    return Command(command.arguments, {"OPENBLAS_NUM_THREADS": "1"})


PEERS = (
    Peer(
        name="kserve",
        title="KServe Python SDK",
        setup="one worker, no batching (the SDK has none)",
        wire=InferWire(),
        models=NUMPY_MODELS,
        requirements="kserve",
        distribution="kserve",
        command=_command,
    ),
)
