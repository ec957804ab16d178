"""KServe's Python SDK over gRPC. It does not batch: in a cluster, a side-car does."""

from peers.base import NUMPY_MODELS, Command, Peer, Start, run_script
from wire import InferWire


def _command(start: Start) -> Command:
    ports = (str(start.port), str(start.ports[1]))
    return run_script(start, "kserve_server.py", start.names[0], *ports, start.model_file)


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
