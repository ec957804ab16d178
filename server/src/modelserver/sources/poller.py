"""Poller: a thread that calls one function again and again."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from modelserver.clock import Clock

_MAX_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class PollInterval:
    """How often to poll: every `wait_seconds`; 0 = once at the start, below 0 = never by itself.

    The time varies by the share `jitter` of it, up and down, so that many servers do not ask at
    the same moment. A poll that got no answer is repeated sooner, after 1, 2, 4, … seconds.
    """

    wait_seconds: float
    jitter: float = 0.0

    def seconds_to_next(self, failures: int, chance: float) -> float | None:
        """Seconds to the next poll after `failures` in a row; None = there is none.

        `chance`, from 0 to 1, decides where within the jitter.
        """
        regular = self.wait_seconds * (1 + self.jitter * (2 * chance - 1))
        if failures and self.wait_seconds >= 0:
            retry = min(2.0 ** min(failures - 1, 16), _MAX_RETRY_SECONDS)
            retry *= 1 + self.jitter * (2 * chance - 1)
            return min(regular, retry) if regular > 0 else retry
        return regular if regular > 0 else None


class Poller:
    """Calls `poll` on a daemon thread of its own, as `interval` says and on request.

    The interval counts from the start of one call to the start of the next. `poll` must not raise;
    it returns False where it got no answer and should be repeated soon. Thread-safe.
    """

    def __init__(
        self, name: str, poll: Callable[[], bool], interval: PollInterval, clock: Clock
    ) -> None:
        self._poll = poll
        self._interval = interval
        self._clock = clock
        self._changed = threading.Condition()
        self._due: float | None = None
        self._failures = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=f"poll-{name}", daemon=True)

    def start(self, *, poll_first: bool) -> None:
        """Start the thread. `poll_first` polls at once even where there is no interval."""
        if poll_first or self._interval.wait_seconds >= 0:
            self._due = self._clock.monotonic()
        self._thread.start()

    def poll_now(self) -> None:
        """Have `poll` called as soon as a running call is over. Returns at once."""
        with self._changed:
            self._due = self._clock.monotonic()
            self._changed.notify_all()

    @property
    def due(self) -> float | None:
        """When (monotonic) the next call begins; None while none is planned."""
        with self._changed:
            return self._due

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
            is_answered = self._poll()
            with self._changed:
                self._failures = 0 if is_answered else self._failures + 1
                if self._failures:
                    self._plan_next(self._failures)

    def _wait_for_turn(self) -> bool:
        """Sleep until a call is due and plan the one after it; False means stop."""
        with self._changed:
            while not self._is_stopping:
                now = self._clock.monotonic()
                if self._due is not None and now >= self._due:
                    self._due = None
                    self._plan_next(failures=0)
                    return True
                self._clock.wait(self._changed, None if self._due is None else self._due - now)
        return False

    def _plan_next(self, failures: int) -> None:
        """Set the time of the next call, unless one is planned that is sooner."""
        seconds = self._interval.seconds_to_next(failures, random.random())
        if seconds is not None:
            due = self._clock.monotonic() + seconds
            self._due = due if self._due is None else min(due, self._due)
