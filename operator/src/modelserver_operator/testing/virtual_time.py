"""Time that passes only when everybody waits: for tests of what waits on an event loop."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` as `asyncio.run` does, on a loop whose clock jumps to the next timer whenever
    nothing else is left to do. An hour of `asyncio.sleep` takes no time and is never early or late.

    For tasks that wait for each other and for timers; threads and sockets would be given no time to
    answer. Raises `RuntimeError` when every task waits for something that cannot happen.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The event loop of `run_in_virtual_time`."""

    def __init__(self) -> None:
        self._virtual_now = 1000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Seconds on the virtual clock."""
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Let time pass without letting anybody run, as when the process is stopped."""
        self._virtual_now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """Jumps where the real one would sleep."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("every task waits, and no timer is set: nothing can happen")
            self._loop.jump(timeout)
        return ready
