"""Replies: where answers go on their way to the transport."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from modelserver.rpc.transport.base import Answer, Transport


class Replies:
    """Sends answers, together where they are made together. Thread-safe.

    While the serve thread is `collecting`, its own answers wait for the end of that and leave in
    one piece. Answers of other threads leave at once; it is for the transport to bundle those.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._collecting_thread: int | None = None
        self._ids: list[int] = []
        self._answers: list[Answer] = []

    def send(self, id: int, answer: Answer) -> None:
        """Answer one call. A second answer, or one that comes too late, is dropped."""
        if threading.get_ident() == self._collecting_thread:
            self._ids.append(id)
            self._answers.append(answer)
        else:
            self._transport.reply_many([id], [answer])

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Hold back the calling thread's answers until the block ends. One thread only."""
        self._collecting_thread = threading.get_ident()
        try:
            yield
        finally:
            self._collecting_thread = None
            ids, self._ids = self._ids, []
            answers, self._answers = self._answers, []
            if ids:
                self._transport.reply_many(ids, answers)
