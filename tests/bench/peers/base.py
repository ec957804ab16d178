"""Peer: a model server as the benchmark sees it, and what starting one takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from identity import Identity
from model_store import Model
from peers.environment import Environment
from wire import Wire

NUMPY_MODELS = frozenset({"softmax", "mlp"})
"""What a server that runs Python code can serve; any of them serves `wide` models, too."""

SERVERS = Path(__file__).with_name("servers")
"""The scripts that run in a peer's own environment."""

ONE_THREAD: Mapping[str, str] = {"OPENBLAS_NUM_THREADS": "1"}
"""What every server's numpy is told."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a server is started with: `names` are those under which it serves `model`. `folder` is
    empty and the server's own; ports are free ones on the loopback interface, the first the one
    that is called. `rows` is how many a request has. With an `identity` it serves over TLS.
    """

    environment: Environment
    model: Model
    names: tuple[str, ...]
    folder: Path
    ports: tuple[int, ...]
    max_batch_size: int = 32
    rows: int = 1
    identity: Identity | None = None

    @property
    def port(self) -> int:
        """The port that is called."""
        return self.ports[0]

    @property
    def model_file(self) -> str:
        """The weights, where the model is a numpy one."""
        return str(self.model.base_path / "1" / "model.npz")


@dataclass(frozen=True, slots=True)
class Command:
    """A command line, and what its environment has beyond the benchmark's."""

    arguments: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """A server and one way to set it up. `setup` says which, for the report: threads, batching.

    `requirements` names the pinned requirements that it runs with, None for the project's own
    environment; `distribution` is the package whose version the report shows. `models` are the
    models that it can serve. `command` is pure but for files that it writes in the start's folder.
    """

    name: str
    title: str
    setup: str
    wire: Wire
    models: frozenset[str]
    requirements: str | None
    distribution: str
    command: Callable[[Start], Command]
    model_count: int = 1
    """Under how many names the model is loaded, of which the load calls one."""

    has_admin_port: bool = False
    """Whether the start's second port serves modelserver's /metrics and /status over HTTP."""

    is_tls: bool = False
    """Whether it is started with an identity, and called over TLS. Of gRPC servers only."""


def run_script(start: Start, script: str, *arguments: str) -> Command:
    """Run one of `servers/` in the peer's environment."""
    return Command((str(start.environment.python), str(SERVERS / script), *arguments), ONE_THREAD)
