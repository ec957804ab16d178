"""The servers that speak HTTP and JSON: LitServe, Ray Serve and BentoML, each with its batching."""

from dataclasses import replace

from peers.base import NUMPY_MODELS, ONE_THREAD, SERVERS, Command, Peer, Start, run_script
from wire import JsonWire


def _litserve(start: Start) -> Command:
    batch = str(start.max_batch_size)
    return run_script(start, "litserve_server.py", str(start.port), start.model_file, batch)


def _ray(start: Start) -> Command:
    arguments = (start.model_file, str(start.max_batch_size), str(start.folder))
    command = run_script(start, "ray_server.py", str(start.port), *arguments)
    variables = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(SERVERS)}
    return replace(command, variables={**command.variables, **variables})


def _bentoml(is_batching: bool, start: Start) -> Command:
    program = start.environment.python.with_name("bentoml")
    arguments = (
        *(str(program), "serve", "bentoml_service:NumpyModel", "--working-dir", str(SERVERS)),
        *("--host", "127.0.0.1", "--port", str(start.port)),
    )
    variables = {
        "BENTOML_HOME": str(start.folder),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENCH_MODEL": start.model_file,
        "BENCH_MAX_BATCH_SIZE": str(start.max_batch_size if is_batching else 1),
    }
    return Command(arguments, {**ONE_THREAD, **variables})


_BENTOML = Peer(
    name="bentoml",
    title="BentoML, HTTP/JSON",
    setup="one worker, no batching",
    wire=JsonWire(is_list=True),
    models=NUMPY_MODELS,
    requirements="bentoml",
    distribution="bentoml",
    command=lambda start: _bentoml(False, start),
)
PEERS = (
    Peer(
        name="litserve",
        title="LitServe, HTTP/JSON",
        setup="one API server, one worker, batching, 1 ms",
        wire=JsonWire(),
        models=NUMPY_MODELS,
        requirements="litserve",
        distribution="litserve",
        command=_litserve,
    ),
    Peer(
        name="ray",
        title="Ray Serve, HTTP/JSON",
        setup="one replica, serve.batch, 1 ms",
        wire=JsonWire(),
        models=NUMPY_MODELS,
        requirements="ray",
        distribution="ray",
        command=_ray,
    ),
    _BENTOML,
    replace(
        _BENTOML,
        name="bentoml-batching",
        title="BentoML, batching, HTTP/JSON",
        setup="one worker, adaptive batching, latency bound 10 s",
        command=lambda start: _bentoml(True, start),
    ),
)
