"""modelserver as users run it: the command, five models, batching, metrics and the admin port."""

import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

from peers.base import SERVERS, Command, Peer, Start
from peers.environment import NotInstallableError, own_environment
from wire import PredictWire

_CONFIG = '  config {{ name: "{name}" base_path: "{path}" model_platform: "{platform}" }}\n'
_BATCHING = """\
max_batch_size {{ value: {batch} }}
batch_timeout_micros {{ value: 0 }}
max_enqueued_batches {{ value: 1000 }}
num_batch_threads {{ value: 2 }}
"""


def _command(transport: str, start: Start) -> Command:
    models, batching = start.folder / "models.pbtxt", start.folder / "batching.pbtxt"
    models.write_text("model_config_list {\n" + "".join(_configs(start)) + "}\n")
    batching.write_text(_BATCHING.format(batch=start.max_batch_size))
    arguments = (
        *(_program(), f"--port={start.port}", f"--admin_port={start.ports[1]}"),
        *(f"--model_config_file={models}", "--enable_batching"),
        *(f"--batching_parameters_file={batching}", "--enable_serialization_as_tensor_content"),
        *_transport_flag(transport),
    )
    path = f"{_plugin(start.folder)}:{SERVERS}"
    return Command(arguments, {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"})


def _configs(start: Start) -> list[str]:
    path, platform = start.model.base_path, start.model.platform
    return [_CONFIG.format(name=name, path=path, platform=platform) for name in start.names]


def _plugin(folder: Path) -> Path:
    """What pip would leave of a distribution with an entry point for the benchmark's platform."""
    metadata = folder / "plugin" / "bench_numpy-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-numpy\nVersion: 1\n")
    entry = "[modelserver.platforms]\nnumpy = modelserver_numpy:platform\n"
    (metadata / "entry_points.txt").write_text(entry)
    return metadata.parent


def _program() -> str:
    return str(own_environment().python.with_name("modelserver"))


@cache
def _transport_flag(transport: str) -> tuple[str, ...]:
    """A server that cannot choose its transport has gRPC's."""
    done = subprocess.run([_program(), "--help"], check=True, stdout=subprocess.PIPE, text=True)
    if "--transport" in done.stdout:
        return (f"--transport={transport}",)
    if transport != "grpc":
        raise NotInstallableError(f"this modelserver has no --transport={transport}")
    return ()


_NATIVE = Peer(
    name="ours-native",
    title="**modelserver**, native transport",
    setup="five models loaded, admin port and metrics on, batch timeout 0, two batch threads",
    wire=PredictWire(),
    models=frozenset({"softmax", "mlp", "softmax-tf", "mlp-tf", "mobilenet-tf", "lookup"}),
    requirements=None,
    distribution="modelserver",
    command=lambda start: _command("native", start),
    model_count=5,
)
PEERS = (
    _NATIVE,
    replace(
        _NATIVE,
        name="ours-grpc",
        title="modelserver, gRPC's transport",
        command=lambda start: _command("grpc", start),
    ),
)
OURS = frozenset(peer.name for peer in PEERS)
