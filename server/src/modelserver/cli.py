"""The command `modelserver`: flags in, exit code out."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from modelserver.errors import ServingError
from modelserver.flags import parse
from modelserver.server import ModelServer

_log = logging.getLogger(__name__)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 0 stopped as asked, 1 could not serve;
    bad usage exits with 2.

    A second signal ends the process at once.
    """
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    stop = threading.Event()
    try:
        config = parse(sys.argv[1:] if argv is None else argv)
        _stop_on_signal(stop)
        ModelServer(config).run(stop)
    except ServingError as error:
        print(f"modelserver: {error}", file=sys.stderr)  # noqa: T201  # the answer to whoever typed it
        return 1
    return 0


def _stop_on_signal(stop: threading.Event) -> None:
    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in _STOP_SIGNALS:
        signal.signal(number, handle)
