"""Serving one case: the server is started, its answers are checked, it is stopped at the end."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from exchange import Target, prepare
from identity import make_identity
from peers.base import Peer, Start
from peers.environment import Environment, install, own_environment
from server_process import free_ports, running
from serving_cases import Case


@contextmanager
def served(case: Case) -> Iterator[Target]:
    """A server of `case` that answers as numpy does, for the block. Says how long it took.

    Raises `NotInstallableError`, `ServerEndedError`, `WrongAnswerError` and `TimeoutError`, and
    what a call that is not answered raises.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-serving-"))
    try:
        with _running(case, folder) as target:
            yield target
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(case: Case, folder: Path) -> Iterator[Target]:
    log, server_folder, begin = folder / "log", folder / "server", time.monotonic()
    server_folder.mkdir()
    peer, model = case.peer, case.model
    start = Start(
        environment_of(peer),
        model,
        case.names,
        server_folder,
        free_ports(4),
        model.max_batch_size,
        case.rows,
        make_identity(folder) if peer.is_tls else None,
    )
    tls_ca = start.identity.authority if start.identity else None
    finish = prepare(model, peer.wire, case.called, case.rows, folder, tls_ca)
    command = peer.command(start)
    with running(command.arguments, command.variables, log) as process:
        target = finish(process, start.port, log)
        if peer.has_admin_port:
            target = replace(target, admin_port=start.ports[1])
        print(f"    serves after {time.monotonic() - begin:.1f} s", flush=True)
        yield target


def environment_of(peer: Peer) -> Environment:
    """Where it is installed, now if it was not. Raises `NotInstallableError`."""
    return install(peer.requirements) if peer.requirements else own_environment()
