"""NVIDIA's Triton: the C++ server in PyTriton's wheel, with the only backend that the wheel has,
the python one: the model runs in a process beside the server, through shared memory.
"""

import shutil
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

from peers.base import NUMPY_MODELS, ONE_THREAD, SERVERS, Command, Peer, Start
from peers.environment import Environment, install
from wire import InferWire

_CONFIG = """\
backend: "python"
max_batch_size: {batch}
input [{{ name: "x" data_type: TYPE_FP32 dims: [{dims}] }}]
output [{{ name: "y" data_type: TYPE_FP32 dims: [10] }}]
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""


def _command(delay_micros: int, start: Start) -> Command:
    """Write a model repository and a backend directory, and run the binary on them."""
    triton = install("triton").site_packages / "pytriton" / "tritonserver"
    repository, backends = start.folder / "models", start.folder / "backends"
    for name in start.names:
        _write_model(start, repository / name, delay_micros)
    _link_backend(triton, backends / "python")
    arguments = [
        *(str(triton / "bin" / "tritonserver"), f"--model-repository={repository}"),
        *(f"--backend-directory={backends}", "--log-info=false", "--log-warning=false"),
        *(f"--grpc-port={start.port}", "--grpc-address=127.0.0.1", "--allow-http=false"),
        *("--allow-gpu-metrics=false", "--metrics-address=127.0.0.1"),
        *(f"--metrics-port={start.ports[1]}", "--exit-timeout-secs=3"),
    ]
    return Command(tuple(arguments), _variables(start.environment))


def _write_model(start: Start, directory: Path, delay_micros: int) -> None:
    version, source = directory / "1", start.model.base_path / "1"
    version.mkdir(parents=True)
    if start.model.platform == "tensorflow":
        shutil.copy(SERVERS / "triton_saved_model.py", version / "model.py")
        (version / "saved_model").symlink_to(source)
    else:
        shutil.copy(SERVERS / "triton_model.py", version / "model.py")
        shutil.copy(SERVERS / "numpy_model.py", version)
        (version / "model.npz").symlink_to(start.model_file)
    dims = ", ".join(str(size) for size in start.model.row_shape)
    config = _CONFIG.format(batch=start.max_batch_size, dims=dims, delay=delay_micros)
    (directory / "config.pbtxt").write_text(config)


def _link_backend(triton: Path, directory: Path) -> None:
    """The backend looks for the stub of its Python beside itself."""
    directory.mkdir(parents=True)
    for file in (triton / "backends" / "python").iterdir():
        (directory / file.name).symlink_to(file)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = "triton_python_backend_stub"
    (directory / stub).symlink_to(triton / "python_backend_stubs" / version / stub)


def _variables(environment: Environment) -> dict[str, str]:
    """The stub finds its packages through the first `python3` on the path, and needs the shared
    library of Python.
    """
    return {
        **ONE_THREAD,
        "PATH": f"{environment.python.parent}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR")),
    }


_SETUP = "C++ server, one instance of the model in a process of its own, queue delay {}"
_TRITON = Peer(
    name="triton",
    title="Triton, python backend",
    setup=_SETUP.format("1 ms"),
    wire=InferWire(),
    models=NUMPY_MODELS,
    requirements="triton",
    distribution="nvidia-pytriton",
    command=lambda start: _command(1000, start),
)
PEERS = (
    _TRITON,
    replace(
        _TRITON,
        name="triton-0",
        title="Triton, python backend, no delay",
        setup=_SETUP.format("0"),
        command=lambda start: _command(0, start),
    ),
    replace(
        _TRITON,
        name="triton-tf",
        title="Triton, TensorFlow in the python backend",
        models=frozenset({"softmax-tf", "mlp-tf", "mobilenet-tf"}),
        requirements="triton-tf",
        distribution="tensorflow-cpu",
    ),
)
