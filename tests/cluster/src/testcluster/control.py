"""How a cluster's owner and supervisor talk: a JSON list of words, then an answer."""

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from testcluster.errors import ClusterError

_OK = "ok"
Handlers = Mapping[str, Callable[..., None]]
"""By the first word of a request; called with the other words."""


def serve(listening: socket.socket, handlers: Handlers) -> None:
    """Answer requests, one by one, until a signal's handler raises. A failure is an answer."""
    while True:
        connection, _ = listening.accept()
        with connection:
            words = json.loads(connection.makefile().readline() or "[]")
            try:
                answer = _answer(words, handlers)
                connection.sendall(answer.encode())
            except BrokenPipeError:
                pass  # whoever asked is not interested any more


def _answer(words: list[str], handlers: Handlers) -> str:
    try:
        handlers[words[0]](*words[1:])
    except ClusterError as error:
        return str(error)
    except Exception as error:  # a fault of ours is for whoever asked, too
        return f"{' '.join(words)}: {error!r}"
    return _OK


def listen(path: Path) -> socket.socket:
    """Listen at the path. Unix sockets have short names (107 bytes)."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
    except OSError as error:
        listening.close()
        raise ClusterError(
            f"Cannot listen on {path}: {error}. Is the path too long? Set MODELSERVER_CACHE"
        ) from error
    listening.listen()
    return listening


def ask(path: Path, *words: str) -> None:
    """Have the supervisor do it; return when it is done. ClusterError with its answer otherwise."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(f"{json.dumps(words)}\n".encode())
            answer = connection.makefile().read()
        except OSError as error:
            raise ClusterError(f"No supervisor answers on {path}: {error}") from error
    if answer != _OK:
        raise ClusterError(answer or f"The supervisor ended; see {path.parent}/logs/supervisor.log")
