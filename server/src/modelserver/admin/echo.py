"""Echo: for how long something that should answer at once has not."""

from collections.abc import Callable

from modelserver.clock import Clock


class Echo:
    """Asks an event loop, or anything that runs callbacks, for a sign of life.

    `call` has it run a function soon, and returns at once. `unanswered_seconds` is for one thread.
    """

    def __init__(self, call: Callable[[Callable[[], None]], None], clock: Clock) -> None:
        self._call = call
        self._clock = clock
        self._asked_at: float | None = None

    def unanswered_seconds(self) -> float:
        """For how long the last question has been open; asks the next one where none is."""
        asked_at = self._asked_at
        if asked_at is not None:
            return self._clock.monotonic() - asked_at
        self._asked_at = self._clock.monotonic()
        self._call(self._hear)
        return 0.0

    def _hear(self) -> None:
        self._asked_at = None
