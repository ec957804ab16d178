"""Poller: a thread that calls one function again and again."""

import threading
from collections.abc import Callable

from modelserver.clock import Clock


class Poller:
    """Calls `poll` on a daemon thread of its own, every `wait_seconds` and on request.

    `wait_seconds` counts from the start of one call to the start of the next; 0 calls once at the
    start, below 0 never by itself. `poll` must not raise. Thread-safe.
    """

    def __init__(
        self, name: str, poll: Callable[[], None], wait_seconds: float, clock: Clock
    ) -> None:
        self._poll = poll
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._due: float | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=f"poll-{name}", daemon=True)

    def start(self, *, poll_first: bool) -> None:
        """Start the thread. `poll_first` polls at once even where `wait_seconds` is below 0."""
        if poll_first or self._wait_seconds >= 0:
            self._due = self._clock.monotonic()
        self._thread.start()

    def poll_now(self) -> None:
        """Have `poll` called as soon as a running call is over. Returns at once."""
        with self._changed:
            self._due = self._clock.monotonic()
            self._changed.notify_all()

    def stop(self) -> None:
        """Call no more. Returns at once, while a last call may still run."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the thread to end. Whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._wait_for_turn():
            self._poll()

    def _wait_for_turn(self) -> bool:
        """Sleep until a call is due and set the time of the one after it; False means stop."""
        with self._changed:
            while not self._is_stopping:
                now = self._clock.monotonic()
                if self._due is not None and now >= self._due:
                    self._due = now + self._wait_seconds if self._wait_seconds > 0 else None
                    return True
                self._clock.wait(self._changed, None if self._due is None else self._due - now)
        return False
