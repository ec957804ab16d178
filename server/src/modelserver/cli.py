"""The command `modelserver`: arguments in, exit code out."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING

from modelserver.errors import ServingError
from modelserver.tools import TOOLS, run_tool

if TYPE_CHECKING:
    from modelserver.server import ModelServer

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_SWITCH_SECONDS = 0.0002
"""How long the thread that serves waits for the interpreter while another computes: storages are
polled and metrics made in this process. With Python's 5 ms a busy neighbour costs most of the
throughput, with this about half. It costs nothing where nobody else is busy."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool that the first argument names, else serve until SIGTERM or SIGINT.

    Returns the exit code: 0 stopped as asked, 1 could not serve; bad usage exits with 2. A second
    signal ends the process at once, and so does the first when what hangs keeps it from stopping.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in TOOLS:
        return run_tool(arguments)
    return _run_server(arguments)


def _run_server(arguments: Sequence[str]) -> int:
    # Imported here because they bring gRPC and all the rest, which a tool need not wait for.
    from modelserver.flags import parse
    from modelserver.server import ModelServer

    _log_to_stderr()
    sys.setswitchinterval(_SWITCH_SECONDS)
    stop = threading.Event()
    _stop_on_signal(stop)
    try:
        config = parse(arguments, os.environ)
        return _serve(ModelServer(config), stop)
    except ServingError as error:
        return _refuse(error)


def _serve(server: "ModelServer", stop: threading.Event) -> int:
    try:
        server.run(stop)
        code = 0
    except ServingError as error:
        code = _refuse(error)
    if not server.has_stopped:
        # A load or a run hangs in a thread that the interpreter would wait for.
        logging.shutdown()
        os._exit(code)
    return code


def _refuse(error: ServingError) -> int:
    print(f"modelserver: {error}", file=sys.stderr)  # noqa: T201  # the answer to whoever typed it
    return 1


def _log_to_stderr() -> None:
    layout = "%(asctime)s %(levelname).1s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=layout, stream=sys.stderr)


def _stop_on_signal(stop: threading.Event) -> None:
    """Set `stop` on the first signal, end the process on the second.

    The handlers only pass the signal on, to a thread: a handler runs between any two instructions
    of the main thread, also while that holds the lock that setting `stop` needs.
    """
    received: SimpleQueue[int] = SimpleQueue()
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda number, frame: received.put(number))

    def take_signals() -> None:
        received.get()
        stop.set()
        os._exit(128 + received.get())

    threading.Thread(target=take_signals, name="signals", daemon=True).start()
