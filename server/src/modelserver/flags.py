"""The command line: the flags of `tensorflow_model_server`, with its names, defaults and meanings,
to a `ServerConfig`.
"""

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from modelserver import __version__
from modelserver.command_line import CommandLine, add_boolean
from modelserver.config import (
    ModelConfig,
    ModelList,
    ModelListFile,
    PodIdentity,
    ServerConfig,
    parse_models,
    read_batching_parameters,
    read_models,
    tls_file,
)
from modelserver.config_document import parse_config_document
from modelserver.core.aspired_versions_manager import ManagerOptions
from modelserver.core.harness import RetryOptions
from modelserver.errors import InvalidArgumentError, NotFoundError
from modelserver.inference.batching_options import BatchingOptions
from modelserver.rpc.transport.choice import TransportKind
from modelserver.sources.storage.stores import default_cache_directory
from modelserver.tools import TOOLS_HELP

_DESCRIPTION = """\
Serves the newest version of a model, or of many, over gRPC. A model is a directory of numbered
version directories; new versions are picked up while the server runs, and the old one serves until
the new one is ready. The flags are those of tensorflow_model_server."""

_EXAMPLES = """\
examples:
  modelserver --model_name=mnist --model_base_path=/models/mnist
  modelserver --port=9000 --model_config_file=/etc/models.pbtxt --enable_batching
  modelserver --model_name=mnist --model_base_path=/models/mnist --enable_batching \\
      --batching_parameters_file=/etc/batching.pbtxt

exit codes: 0 stopped as asked (SIGTERM, SIGINT); 1 could not serve; 2 the command line is wrong"""

NOT_YET = MappingProxyType(
    {
        "rest_api_port": ("the REST API", ("0",)),
        "rest_api_num_threads": ("the REST API", ()),
        "rest_api_timeout_in_ms": ("the REST API", ("30000",)),
        "rest_api_enable_cors_support": ("the REST API", ("false", "0")),
        "enable_per_model_batching_parameters": ("batching of single models", ("false", "0")),
        "use_alts_credentials": ("ALTS", ("false", "0")),
        "platform_config_file": ("reading platform configurations", ("",)),
        "monitoring_config_file": ("the metrics endpoint", ("",)),
        "tensorflow_session_config_file": ("reading session configurations", ("",)),
        "num_request_iterations_for_warmup": ("warm-up by recorded requests", ("0",)),
        "prefer_tflite_model": ("TensorFlow Lite", ("false", "0")),
        "num_tflite_pools": ("TensorFlow Lite", ()),
        "num_tflite_interpreters_per_pool": ("TensorFlow Lite", ("1",)),
        "enable_signature_method_name_check": ("Classify and Regress", ("false", "0")),
        "xla_cpu_compilation_enabled": ("XLA", ("false", "0")),
        "xla_gpu_compilation_enabled": ("XLA", ("false", "0")),
        "thread_pool_factory_config_file": ("choosing a thread pool", ("",)),
        "mixed_precision": ("mixed precision", ("",)),
    }
)
"""Flags of the reference whose feature is not here yet, with the values that ask for nothing. Other
values are refused by name, not ignored: a server that silently does less than asked is worse than
one that does not start."""

NO_EFFECT = frozenset(
    {
        "flush_filesystem_caches",
        "grpc_max_threads",
        "remove_unused_fields_from_bundle_metagraph",
        "enable_profiler",
        "skip_initialize_tpu",
        "enable_grpc_healthcheck_service",
        "allow_version_labels_for_unavailable_models",
    }
)
"""Flags of the reference that are accepted and change nothing: what they tune does not exist here,
or is always on.
"""


def parse(
    argv: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})
) -> ServerConfig:
    """Read the command line and the files it names. `environment` says which pod this is.

    Exits with code 2 after one line on standard error where a flag is wrong, and with 0 after
    `--help` or `--version`.

    Raises:
        ServingError: a file that a flag names is missing or wrong.

    """
    parser = _make_parser()
    flags = parser.parse_args(argv)
    for name, (feature, harmless) in NOT_YET.items():
        value = getattr(flags, name)
        if value is not None and value.lower() not in harmless:
            parser.error(f"--{name}={value}: {feature} is not in this release")
    try:
        _check(flags)
    except InvalidArgumentError as error:
        parser.error(error.message)
    pod = PodIdentity(environment.get("POD_NAME", ""), environment.get("POD_UID", ""))
    return replace(_server_config(flags), pod=pod)


def _check(flags: argparse.Namespace) -> None:
    _check_models(flags)
    if flags.port == 0 and not flags.grpc_socket_path:
        raise InvalidArgumentError(
            "give a --port above 0 or a --grpc_socket_path: there is nowhere to listen"
        )
    if flags.admin_port and flags.admin_port == flags.port:
        raise InvalidArgumentError("--admin_port and --port must not be the same")
    if flags.batching_parameters_file and not flags.enable_batching:
        raise InvalidArgumentError("--batching_parameters_file is set without --enable_batching")
    for name in ("drain_seconds", "max_connection_age_seconds"):
        if getattr(flags, name) < 0:
            raise InvalidArgumentError(f"--{name} must not be negative")
    both = flags.tensorflow_intra_op_parallelism or flags.tensorflow_inter_op_parallelism
    if flags.tensorflow_session_parallelism and both:
        raise InvalidArgumentError(
            "give either --tensorflow_session_parallelism or --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism"
        )


def _check_models(flags: argparse.Namespace) -> None:
    """Check that it is clear where the models are said. As in the reference, --model_config_file
    wins over --model_base_path.
    """
    if not (flags.model_base_path or flags.model_config_file or flags.config_document):
        raise InvalidArgumentError(
            "give --model_base_path or --model_config_file: there is nothing to serve"
        )
    if flags.config_document and (flags.model_base_path or flags.model_config_file):
        raise InvalidArgumentError(
            "--config_document says what is served: leave out --model_base_path and "
            "--model_config_file"
        )
    if flags.model_config_file_poll_wait_seconds and not flags.model_config_file:
        raise InvalidArgumentError(
            "--model_config_file_poll_wait_seconds is set without --model_config_file"
        )


def _server_config(flags: argparse.Namespace) -> ServerConfig:
    batching = _batching(flags)
    retry = RetryOptions(
        max_num_load_retries=flags.max_num_load_retries,
        load_retry_interval_seconds=max(0, flags.load_retry_interval_micros) * 1e-6,
    )
    return ServerConfig(
        models=_models(flags),
        model_list_file=_model_list_file(flags),
        port=flags.port,
        grpc_socket_path=flags.grpc_socket_path,
        poll_wait_seconds=flags.file_system_poll_wait_seconds,
        servable_versions_always_present=flags.servable_versions_always_present,
        batching=batching,
        manager=ManagerOptions(flags.num_load_threads, flags.num_unload_threads, retry),
        platform_options=_platform_options(flags, batching),
        serialize_as_tensor_content=flags.enable_serialization_as_tensor_content,
        grpc_channel_arguments=flags.grpc_channel_arguments,
        transport=TransportKind(flags.transport),
        tls_file=tls_file(Path(flags.ssl_config_file)) if flags.ssl_config_file else None,
        serve_partial=flags.serve_partial,
        drain_seconds=flags.drain_seconds,
        admin_port=flags.admin_port,
        cache_directory=Path(flags.cache_dir) if flags.cache_dir else default_cache_directory(),
        cache_size_limit=flags.cache_size_limit or None,
        gcs_anonymous=flags.gcs_anonymous,
        max_connection_age_seconds=flags.max_connection_age_seconds,
    )


def _model_list_file(flags: argparse.Namespace) -> ModelListFile | None:
    if flags.config_document:
        return ModelListFile(Path(flags.config_document), parse_config_document)
    wait_seconds = flags.model_config_file_poll_wait_seconds
    if wait_seconds <= 0:
        return None
    path = Path(flags.model_config_file)
    return ModelListFile(path, lambda content: ModelList(parse_models(content, path)), wait_seconds)


def _models(flags: argparse.Namespace) -> tuple[ModelConfig, ...]:
    if flags.config_document:
        return ()
    if flags.model_config_file:
        return read_models(Path(flags.model_config_file))
    if flags.model_base_path.startswith("/") and not Path(flags.model_base_path).is_dir():
        raise NotFoundError(
            f"Could not find base path {flags.model_base_path} for servable {flags.model_name}: "
            "make the directory first; it may still be empty"
        )
    return (ModelConfig(flags.model_name, flags.model_base_path),)


def _batching(flags: argparse.Namespace) -> BatchingOptions | None:
    if not flags.enable_batching:
        return None
    if flags.batching_parameters_file:
        return read_batching_parameters(Path(flags.batching_parameters_file))
    return BatchingOptions(thread_pool_name="model_server_batch_threads")


def _platform_options(
    flags: argparse.Namespace, batching: BatchingOptions | None
) -> Mapping[str, object]:
    parallelism = flags.tensorflow_session_parallelism
    return {
        "saved_model_tags": flags.saved_model_tags,
        "intra_op_parallelism": flags.tensorflow_intra_op_parallelism or parallelism,
        "inter_op_parallelism": flags.tensorflow_inter_op_parallelism or parallelism,
        "per_process_gpu_memory_fraction": flags.per_process_gpu_memory_fraction,
        "enable_model_warmup": flags.enable_model_warmup,
        "warmup_batch_sizes": batching.execution_batch_sizes if batching else (),
    }


def _make_parser() -> argparse.ArgumentParser:
    parser = CommandLine("modelserver", _DESCRIPTION, f"{TOOLS_HELP}\n\n{_EXAMPLES}")
    _add_model_flags(parser.add_argument_group("what to serve"))
    _add_storage_flags(parser.add_argument_group("versions that are not on a mounted disk"))
    listening = parser.add_argument_group("where to listen")
    _add_listening_flags(listening)
    _add_serving_flags(listening)
    _add_batching_flags(parser.add_argument_group("batching"))
    _add_loading_flags(parser.add_argument_group("loading versions"))
    _add_tensorflow_flags(parser.add_argument_group("TensorFlow"))
    version = f"modelserver {__version__}"
    parser.add_argument(
        "--version", action="version", version=version, help="print the version and exit"
    )
    for name in (*NOT_YET, *sorted(NO_EFFECT)):
        parser.add_argument(f"--{name}", nargs="?", const="true", help=argparse.SUPPRESS)
    return parser


def _add_model_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model_name", default="default", help="the model's name (default: %(default)s)"
    )
    group.add_argument(
        "--model_base_path",
        default="",
        help="the directory that holds the model's numbered versions, or gs://BUCKET/PATH",
    )
    group.add_argument(
        "--model_config_file",
        default="",
        help="serve the models of this ModelServerConfig (protobuf text) instead of --model_name",
    )
    group.add_argument(
        "--model_config_file_poll_wait_seconds",
        type=_finite,
        default=0.0,
        help="how often to read --model_config_file again; 0 = once at start (default: 0)",
    )
    group.add_argument(
        "--config_document",
        default="",
        help="serve the models of this JSON document, as the operator writes it, and follow its "
        "changes",
    )
    group.add_argument(
        "--file_system_poll_wait_seconds",
        type=_finite,
        default=None,
        help="how often to look for versions; 0 = once at start, negative = never (default: 1, for "
        "gs:// and other stores, where each look is a call, 30)",
    )
    add_boolean(
        group,
        "servable_versions_always_present",
        default=True,
        help="keep what serves when a base path turns up empty; false unloads it",
    )


def _add_storage_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--cache_dir",
        default="",
        metavar="DIR",
        help="where versions from gs:// and other stores are kept; restarts find them there "
        f"(default: {default_cache_directory({'HOME': '~'})})",
    )
    group.add_argument(
        "--cache_size_limit",
        type=_size,
        default=None,
        metavar="SIZE",
        help="how much to keep there, in bytes or as 10G, 10Gi; what nobody uses makes room "
        "(default and 0: what the disk has)",
    )
    add_boolean(
        group,
        "gcs_anonymous",
        default=False,
        help="read gs:// without credentials, as public buckets allow",
    )


def _add_listening_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--port", type=_port, default=8500, help="gRPC port; 0 = none (default: %(default)s)"
    )
    group.add_argument(
        "--admin_port",
        type=_port,
        default=0,
        help="HTTP port for probes, status and metrics; 0 = none (default: %(default)s)",
    )
    group.add_argument("--grpc_socket_path", default="", help="also listen on this UNIX socket")
    group.add_argument(
        "--grpc_channel_arguments",
        type=_channel_arguments,
        default={},
        help="arguments for the gRPC server, for example grpc.max_connection_age_ms=2000,…",
    )
    group.add_argument(
        "--max_connection_age_seconds",
        type=_finite,
        default=0.0,
        help="ask connections to move on at this age, so that clients find new replicas; "
        "0 = never (default: 0)",
    )
    group.add_argument(
        "--transport",
        choices=[kind.value for kind in TransportKind],
        default=TransportKind.AUTO.value,
        help="what serves gRPC: the native transport, which is several times faster, or grpcio "
        "(default: native where it is installed and knows all that is asked for)",
    )
    group.add_argument(
        "--ssl_config_file",
        default="",
        help="SSLConfig (protobuf text, PEM inside): serve gRPC over TLS; a changed file is used "
        "for new connections",
    )


def _add_serving_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--drain_seconds",
        type=_finite,
        default=30.0,
        help="after SIGTERM, how long accepted calls may take to finish (default: %(default)g)",
    )
    add_boolean(
        group,
        "serve_partial",
        default=False,
        help="serve the models that loaded though others failed; otherwise the server exits with 1",
    )
    add_boolean(
        group,
        "enable_serialization_as_tensor_content",
        default=False,
        help="answer with tensor_content bytes instead of typed fields: smaller and faster",
    )


def _add_batching_flags(group: argparse._ArgumentGroup) -> None:
    add_boolean(
        group, "enable_batching", default=False, help="merge concurrent requests into one run"
    )
    group.add_argument(
        "--batching_parameters_file",
        default="",
        help="BatchingParameters (protobuf text) instead of the defaults",
    )


def _add_loading_flags(group: argparse._ArgumentGroup) -> None:
    count = _at_least(0)
    group.add_argument(
        "--num_load_threads", type=count, default=0, help="0 means 1 (default: %(default)s)"
    )
    group.add_argument(
        "--num_unload_threads", type=count, default=0, help="0 means 1 (default: %(default)s)"
    )
    group.add_argument(
        "--max_num_load_retries",
        type=count,
        default=5,
        help="tries after the first (default: %(default)s)",
    )
    group.add_argument(
        "--load_retry_interval_micros",
        type=int,
        default=60_000_000,
        help="pause between the tries, in microseconds (default: one minute)",
    )
    add_boolean(
        group, "enable_model_warmup", default=True, help="run a model once before it is available"
    )


def _add_tensorflow_flags(group: argparse._ArgumentGroup) -> None:
    count = _at_least(0)
    for name in ("session", "intra_op", "inter_op"):
        group.add_argument(
            f"--tensorflow_{name}_parallelism",
            type=count,
            default=0,
            help="threads; 0 = chosen by TensorFlow",
        )
    group.add_argument(
        "--per_process_gpu_memory_fraction",
        type=_fraction,
        default=0.0,
        help="limit of GPU memory, 0 to 1; 0 = as much as the models need (default: 0)",
    )
    group.add_argument(
        "--saved_model_tags",
        type=lambda text: tuple(tag for tag in text.split(",") if tag),
        default=("serve",),
        help="which meta graph to load, comma separated (default: serve)",
    )


def _port(text: str) -> int:
    number = _at_least(0)(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{number} is no port: they end at 65535")
    return number


def _at_least(minimum: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < minimum:
            message = f"{text!r} is not a whole number of at least {minimum}"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return convert


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)([KMGT]i?)?B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write bytes, or 10G, or 10Gi")
    number, unit = match.groups()
    if not unit:
        return int(number)
    base = 1024 if unit.lower().endswith("i") else 1000
    factor: int = base ** ("kmgt".index(unit[0].lower()) + 1)
    return int(number) * factor


def _fraction(text: str) -> float:
    number = _finite(text)
    if not 0.0 <= number <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


def _channel_arguments(text: str) -> dict[str, int | str]:
    arguments: dict[str, int | str] = {}
    for item in filter(None, text.split(",")):
        name, equals, value = item.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{item!r} is not of the form name=value")
        arguments[name] = int(value) if value.lstrip("-").isdigit() else value
    return arguments
