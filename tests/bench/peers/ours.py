"""modelserver as users run it: the command, five models, batching, metrics and the admin port; the
same with each request parsed; and the tutorial's server, which is its library.
"""

import json
from dataclasses import replace
from pathlib import Path

from peers.base import ONE_THREAD, SERVERS, Command, Peer, Start
from peers.environment import own_environment
from wire import ClassifyWire, PredictWire

_CONFIG = """\
  config {{
    name: "{name}" base_path: "{path}" model_platform: "{platform}"
    model_version_policy {{ all {{}} }}
  }}
"""
_PLATFORM = "modelserver_numpy"
_BATCHING = """\
max_batch_size {{ value: {batch} }}
batch_timeout_micros {{ value: 0 }}
max_enqueued_batches {{ value: 1000 }}
num_batch_threads {{ value: 2 }}
"""


def _command(start: Start, transport: str = "native", platform: str = _PLATFORM) -> Command:
    """`platform` is the module of `servers/` that is `numpy` to it."""
    models, batching = start.folder / "models.pbtxt", start.folder / "batching.pbtxt"
    models.write_text("model_config_list {\n" + "".join(_configs(start)) + "}\n")
    batching.write_text(_BATCHING.format(batch=start.max_batch_size))
    arguments = (
        *(_program(), f"--port={start.port}", f"--admin_port={start.ports[1]}"),
        *(f"--model_config_file={models}", "--enable_batching"),
        *(f"--batching_parameters_file={batching}", "--enable_serialization_as_tensor_content"),
        *("--file_system_poll_wait_seconds=1", f"--transport={transport}"),
        *_tls_flag(start),
    )
    path = f"{_plugin(start.folder, platform)}:{SERVERS}"
    return Command(arguments, {**ONE_THREAD, "PYTHONPATH": path})


def _configs(start: Start) -> list[str]:
    path, platform = start.model.base_path, start.model.platform
    return [_CONFIG.format(name=name, path=path, platform=platform) for name in start.names]


def _tls_flag(start: Start) -> tuple[str, ...]:
    if start.identity is None:
        return ()
    fields = {"server_cert": start.identity.certificate, "server_key": start.identity.key}
    config = start.folder / "ssl.pbtxt"
    config.write_text("".join(f"{k}: {json.dumps(v.read_text())}\n" for k, v in fields.items()))
    return (f"--ssl_config_file={config}",)


def _plugin(folder: Path, module: str) -> Path:
    """What pip would leave of a distribution with an entry point for the benchmark's platform."""
    metadata = folder / "plugin" / "bench_numpy-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-numpy\nVersion: 1\n")
    entry = f"[modelserver.platforms]\nnumpy = {module}:platform\n"
    (metadata / "entry_points.txt").write_text(entry)
    return metadata.parent


def _program(name: str = "modelserver") -> str:
    return str(own_environment().python.with_name(name))


def _classify(start: Start) -> Command:
    """The tutorial's server has no other settings."""
    arguments = (f"--port={start.port}", str(start.model.base_path))
    return Command((_program("mnist_inference_2"), *arguments), ONE_THREAD)


_SETUP = (
    "five models loaded, their versions looked for each second, admin port and metrics on, batch"
    " timeout 0, two batch threads"
)
_NATIVE = Peer(
    name="ours-native",
    title="**modelserver**, native transport",
    setup=_SETUP,
    wire=PredictWire(),
    models=frozenset({"softmax", "mlp", "softmax-tf", "mlp-tf", "mobilenet-tf", "lookup"}),
    requirements=None,
    distribution="modelserver",
    command=_command,
    model_count=5,
    has_admin_port=True,
)
PEERS = (
    _NATIVE,
    replace(
        _NATIVE,
        name="ours-parsed",
        title="modelserver, each request parsed",
        setup="as above, but the benchmark's plug-in takes out that requests are known by their"
        " bytes: protobuf's upb parses each (modelserver has no such setting)",
        models=frozenset({"softmax"}),
        command=lambda start: _command(start, platform="modelserver_parsed"),
    ),
    replace(
        _NATIVE,
        name="ours-plain",
        title="modelserver, each request like none before",
        setup="as above, and each is checked, queued and answered by itself, as requests with"
        " strings are",
        models=frozenset({"softmax"}),
        command=lambda start: _command(start, platform="modelserver_plain"),
    ),
    replace(
        _NATIVE,
        name="ours-grpc",
        title="modelserver, gRPC's transport",
        command=lambda start: _command(start, transport="grpc"),
    ),
    replace(
        _NATIVE,
        name="ours-tls",
        title="modelserver, over TLS",
        setup="as with the native transport, over TLS, P-256",
        models=frozenset({"softmax"}),
        is_tls=True,
    ),
    Peer(
        name="ours-classify",
        title="modelserver's library: the tutorial's server",
        setup="examples/mnist/inference_2.py, called by Classify: one model, native transport,"
        " batches of up to 32, batch timeout 10 ms (it has no settings)",
        wire=ClassifyWire(),
        models=frozenset({"softmax-tf"}),
        requirements=None,
        distribution="modelserver-examples",
        command=_classify,
    ),
)
OURS = frozenset(peer.name for peer in PEERS)
