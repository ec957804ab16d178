"""The limit: modelserver's transport in Rust answering at once, no Python, no model behind it."""

from dataclasses import replace
from importlib.util import find_spec

from peers.base import Command, Peer, Start, run_script
from peers.environment import NotInstallableError
from wire import PREDICT, ConstantWire


def _command(start: Start) -> Command:
    if find_spec("modelserver_transport") is None:
        raise NotInstallableError("modelserver_transport is not installed")
    answer = start.folder / "answer"
    answer.write_bytes(ConstantWire().constant(start.model, start.rows))
    arguments = [str(start.port), PREDICT, str(answer)]
    if start.identity:
        arguments += [str(start.identity.certificate), str(start.identity.key)]
    return run_script(start, "constant_server.py", *arguments)


LIMIT = Peer(
    name="limit",
    title="limit: the Rust transport alone",
    setup="answers in Rust with constant bytes",
    wire=ConstantWire(),
    models=frozenset({"softmax"}),
    requirements=None,
    distribution="modelserver-transport",
    command=_command,
)
PEERS = (
    LIMIT,
    replace(
        LIMIT,
        name="limit-tls",
        title="limit, over TLS",
        setup="the same over TLS, P-256",
        is_tls=True,
    ),
)
