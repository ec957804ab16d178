"""ServerConfig: what the server was asked to do, checked. The only reader of configuration files.

Parts of the server receive plain values from here; none of them reads a file, a flag or the
environment for itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from google.protobuf import text_format
from google.protobuf.message import Message

from modelserver.core.aspired_versions_manager import ManagerOptions
from modelserver.core.policy import AspiredVersionPolicy, availability_preserving
from modelserver.errors import InvalidArgumentError, NotFoundError
from modelserver.inference.batching_options import BatchingOptions
from modelserver.rpc import messages
from modelserver.rpc.transport.choice import TransportKind
from modelserver.rpc.transport.options import TlsCredentials
from modelserver.sources.storage.stores import default_cache_directory
from modelserver.sources.versions import All, Latest, ServableVersionPolicy, Specific

MessageT = TypeVar("MessageT", bound=Message)

DEFAULT_PLATFORM = "tensorflow"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model to serve: `base_path` is the directory (or URI) of its numbered versions.

    `poll_wait_seconds` and `batching` None are the server's. `transition_policy` decides whether a
    version is loaded before or after the one that it replaces is unloaded. A version counts only
    once it has the file `ready_marker`, where that is not empty. A server that starts is not ready
    before the model has a version, if it `is_awaited`.
    """

    name: str
    base_path: str
    platform: str = DEFAULT_PLATFORM
    version_policy: ServableVersionPolicy = field(default_factory=Latest)
    version_labels: Mapping[str, int] = field(default_factory=dict)
    transition_policy: AspiredVersionPolicy = availability_preserving
    poll_wait_seconds: float | None = None
    ready_marker: str = ""
    batching: BatchingOptions | None = None
    is_awaited: bool = True


@dataclass(frozen=True, slots=True)
class ModelList:
    """All that is served. Another `poll_request` than before asks for one poll of every model."""

    models: tuple[ModelConfig, ...] = ()
    poll_request: str = ""

    def __post_init__(self) -> None:
        check_models(self.models)


ParsedT = TypeVar("ParsedT")


@dataclass(frozen=True)  # no slots: a generic class with them cannot be made by its alias
class FollowedFile(Generic[ParsedT]):
    """A file whose content is in force as it changes, looked at every `poll_seconds`.

    `parse` reads its bytes, or raises `InvalidArgumentError`.
    """

    path: Path
    parse: Callable[[bytes], ParsedT]
    poll_seconds: float = 0.5

    def read(self) -> ParsedT:
        """What is there now. Raises `NotFoundError`, or what `parse` raises."""
        return self.parse(_read_bytes(self.path))


ModelListFile: TypeAlias = FollowedFile[ModelList]
"""A file that says what is served."""

TlsFile: TypeAlias = FollowedFile[TlsCredentials]
"""A file with certificates."""

_TLS_POLL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """Which pod this server is, for reports; empty outside Kubernetes."""

    name: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything that `modelserver` needs to run.

    `port` is the gRPC port, on all interfaces, and `grpc_socket_path` a UNIX socket instead of it
    (port 0) or beside it. `poll_wait_seconds` is as `--file_system_poll_wait_seconds`: 0 = once at
    start, negative = never, None = as suits the storage. `batching` None runs every request by
    itself. `platform_options` go to the platforms as they are. With `serve_partial` the port opens
    for the models that loaded though others failed.

    `model_list_file`, if there is one, takes the place of `models`. `admin_port` 0 is none. With
    `max_connection_age_seconds` above 0, connections are asked to move on at that age. gRPC is
    served over TLS with the certificates of `tls_file`, if there is one.

    Versions from elsewhere are kept in `cache_directory`, `cache_size_limit` bytes of them (None =
    what the disk has). With `gcs_anonymous`, gs:// is read without credentials.
    """

    models: tuple[ModelConfig, ...] = ()
    model_list_file: ModelListFile | None = None
    port: int = 8500
    grpc_socket_path: str = ""
    poll_wait_seconds: float | None = None
    servable_versions_always_present: bool = True
    batching: BatchingOptions | None = None
    manager: ManagerOptions = field(default_factory=ManagerOptions)
    platform_options: Mapping[str, object] = field(default_factory=dict)
    serialize_as_tensor_content: bool = False
    grpc_channel_arguments: Mapping[str, int | str] = field(default_factory=dict)
    serve_partial: bool = False
    transport: TransportKind = TransportKind.AUTO
    tls_file: TlsFile | None = None
    drain_seconds: float = 30.0
    admin_port: int = 0
    max_connection_age_seconds: float = 0.0
    pod: PodIdentity = PodIdentity()
    cache_directory: Path = field(default_factory=default_cache_directory)
    cache_size_limit: int | None = None
    gcs_anonymous: bool = False

    def __post_init__(self) -> None:
        check_models(self.models)

    @property
    def address(self) -> str:
        """Where to listen: `0.0.0.0:PORT`, or `unix:PATH` when there is no port."""
        return f"0.0.0.0:{self.port}" if self.port else f"unix:{self.grpc_socket_path}"


def check_models(models: tuple[ModelConfig, ...]) -> None:
    """Check what must hold between and within models.

    Raises:
        InvalidArgumentError: in the reference's words; names the model.

    """
    seen: set[str] = set()
    for model in models:
        if not model.name:
            raise InvalidArgumentError(f"The model at {model.base_path} has no name")
        if model.name in seen:
            raise InvalidArgumentError(
                f"Illegal to list model {model.name} multiple times in config list"
            )
        seen.add(model.name)
        if not model.base_path.startswith("/") and "://" not in model.base_path:
            raise InvalidArgumentError(
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}"
            )


def read_models(path: Path) -> tuple[ModelConfig, ...]:
    """Read a `ModelServerConfig` in protobuf text format, as `--model_config_file` names it.

    Raises:
        NotFoundError, InvalidArgumentError: with the file, and the line where the text is wrong.

    """
    return parse_models(_read_bytes(path), path)


def parse_models(content: bytes, path: Path) -> tuple[ModelConfig, ...]:
    """Read the content of such a file. Raises `InvalidArgumentError` in the same way."""
    config = parse_text_message(content, path, messages.ModelServerConfig())
    if config.HasField("custom_model_config"):
        raise InvalidArgumentError(
            f"{path}: custom_model_config is not supported; use model_config_list"
        )
    models = tuple(_model_config(model) for model in config.model_config_list.config)
    check_models(models)
    return models


def tls_file(path: Path) -> TlsFile:
    """The file that `--ssl_config_file` names, an `SSLConfig` in protobuf text format, looked at.

    Raises:
        NotFoundError, InvalidArgumentError: with the file, and the line or field that is wrong.

    """
    followed = TlsFile(path, lambda content: parse_tls(content, path), _TLS_POLL_SECONDS)
    followed.read()
    return followed


def parse_tls(content: bytes, path: Path) -> TlsCredentials:
    """Read the content of such a file. Raises `InvalidArgumentError` that names what is missing."""
    config = _parse_ssl_config(content, path)
    for field_name in ("server_key", "server_cert"):
        if not getattr(config, field_name):
            raise InvalidArgumentError(f"{path}: {field_name} is missing: give the PEM itself")
    if config.client_verify and not config.custom_ca:
        raise InvalidArgumentError(f"{path}: client_verify needs a custom_ca to verify clients by")
    return TlsCredentials(
        config.server_cert.encode(),
        config.server_key.encode(),
        config.custom_ca.encode(),
        config.client_verify,
    )


def _parse_ssl_config(content: bytes, path: Path) -> messages.SSLConfig:
    config = messages.SSLConfig()
    try:
        text_format.Parse(content.decode(), config)
    except text_format.ParseError as error:
        place = f"line {error.GetLine()}, column {error.GetColumn()}"
    except UnicodeDecodeError as error:
        place = f"byte {error.start}"
    else:
        return config
    # Without the words of the error, which quote the line: it may be one of the key.
    raise InvalidArgumentError(f"{path} is not a SSLConfig in protobuf text format: see {place}")


def read_batching_parameters(path: Path) -> BatchingOptions:
    """Read `BatchingParameters` in protobuf text format, as `--batching_parameters_file` names it.

    Raises:
        NotFoundError, InvalidArgumentError: with the file, and the line or field that is wrong.

    """
    parameters = read_text_message(path, messages.BatchingParameters())
    given = {
        name: getattr(parameters, name).value
        for name in _WRAPPED_BATCHING_FIELDS
        if parameters.HasField(name)
    }
    if parameters.allowed_batch_sizes:
        given["allowed_batch_sizes"] = tuple(parameters.allowed_batch_sizes)
    given["pad_variable_length_inputs"] = parameters.pad_variable_length_inputs
    return BatchingOptions(**given)


_WRAPPED_BATCHING_FIELDS = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "thread_pool_name",
    "enable_large_batch_splitting",
    "max_execution_batch_size",
)


def read_text_message(path: Path, message: MessageT) -> MessageT:
    """Fill `message` from a file in protobuf text format.

    Raises:
        NotFoundError: the file cannot be read.
        InvalidArgumentError: the text is wrong; names file, line and column.

    """
    return parse_text_message(_read_bytes(path), path, message)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"Cannot read {path}: {error.strerror}") from error


def parse_text_message(content: bytes, path: Path, message: MessageT) -> MessageT:
    """Fill `message` from the content of the file at `path`. Raises `InvalidArgumentError`."""
    try:
        text_format.Parse(content.decode(), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        name = message.DESCRIPTOR.name
        raise InvalidArgumentError(
            f"{path} is not a {name} in protobuf text format: {error}"
        ) from error
    return message


def _model_config(model: messages.ModelConfig) -> ModelConfig:
    if model.HasField("logging_config"):
        message = f"Model {model.name} has a logging_config: request logging is not in this release"
        raise InvalidArgumentError(message)
    return ModelConfig(
        name=model.name,
        base_path=model.base_path,
        platform=model.model_platform or DEFAULT_PLATFORM,
        version_policy=_version_policy(model.model_version_policy),
        version_labels=dict(model.version_labels),
    )


def _version_policy(
    policy: "messages.FileSystemStoragePathSourceConfig.ServableVersionPolicy",
) -> ServableVersionPolicy:
    if policy.HasField("specific"):
        return Specific(frozenset(policy.specific.versions))
    if policy.HasField("all"):
        return All()
    return Latest(policy.latest.num_versions or 1)
