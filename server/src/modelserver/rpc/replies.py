"""Replies: where answers go on their way to the transport."""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from modelserver.rpc.transport.base import Answer, Transport


class Replies:
    """Sends answers, together where they are made together. Thread-safe.

    From `collect` to `end` the single answers of a thread wait, to leave in one piece. All else
    leaves at once; it is for the transport to bundle that.
    """

    def __init__(
        self, transport: Transport, may_run_models: Callable[[], bool] = lambda: True
    ) -> None:
        self.may_run_models = may_run_models
        """Whether the thread that serves may run models at the moment: not while the other one is
        stuck in one."""
        self._transport = transport
        self._collected: dict[int, tuple[list[int], list[Answer]]] = {}  # by thread
        self.gather = transport.gather
        self.alive = transport.alive

    def send(self, id: int, answer: Answer) -> None:
        """Answer one call. A second answer, or one that comes too late, is dropped."""
        collected = self._collected.get(threading.get_ident())
        if collected is None:
            self._transport.reply_many([id], [answer])
        else:
            ids, answers = collected
            ids.append(id)
            answers.append(answer)

    def send_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
        """Answer several calls, each with its own."""
        self._transport.reply_many(ids, answers)

    def send_split(
        self, ids: Sequence[int], rows: np.ndarray, prefix: bytes, suffix: bytes
    ) -> None:
        """Answer calls with equal pieces of `rows`, each between `prefix` and `suffix`."""
        self._transport.reply_split(ids, rows, prefix, suffix)

    def collect(self) -> None:
        """Hold back the calling thread's single answers, until it calls `flush` or `end`."""
        self._collected[threading.get_ident()] = [], []

    def flush(self) -> None:
        """Send what has been held back so far: something follows that may take a while."""
        thread = threading.get_ident()
        ids, answers = self._collected.get(thread, ([], []))
        if ids:
            self._collected[thread] = [], []
            self._transport.reply_many(ids, answers)

    def end(self) -> None:
        """Send what has been held back, and hold back no more."""
        ids, answers = self._collected.pop(threading.get_ident())
        if ids:
            self._transport.reply_many(ids, answers)
