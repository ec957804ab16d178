import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.load_executor import MAX_LENT_THREADS, STALL_SECONDS, LoadExecutor
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.core.state import ManagerState
from modelserver.testing.clock import ManualClock
from modelserver.testing.loader import FakeLoader

PATIENCE_SECONDS = 20


class Gate:
    """Work that begins, and hangs until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.thread: threading.Thread | None = None
        self._may_end = threading.Event()

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.began.set()
        assert self._may_end.wait(PATIENCE_SECONDS)

    def let_go(self) -> None:
        self._may_end.set()

    def has_begun(self) -> bool:
        return self.began.wait(PATIENCE_SECONDS)

    def end(self) -> None:
        self.let_go()
        assert self.thread is not None
        self.thread.join(PATIENCE_SECONDS)


class Warnings(logging.Handler):
    """What is logged, handed from the executor's threads to the test's.

    Work is started before what has stalled is told: after `next`, what has not begun does not.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._records: queue.Queue[logging.LogRecord] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._records.put(record)

    def next(self) -> str:
        return self._records.get(timeout=PATIENCE_SECONDS).getMessage()

    def has_more(self) -> bool:
        return not self._records.empty()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def warnings() -> Iterator[Warnings]:
    log, handler = logging.getLogger("modelserver.core.load_executor"), Warnings()
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


@contextmanager
def ending(executor: LoadExecutor, *gates: Gate) -> Iterator[None]:
    """Let all work end, whatever the test finds."""
    try:
        yield
    finally:
        for gate in gates:
            gate.let_go()
        executor.shutdown()


def submit(executor: LoadExecutor, count: int) -> list[Gate]:
    gates = [Gate() for _ in range(count)]
    for gate in gates:
        executor.submit(gate)
    return gates


def threads_of(name: str) -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name.startswith(f"{name}_"))


def test_work_that_stalls_gives_up_its_place_and_goes_on(
    clock: ManualClock, warnings: Warnings
) -> None:
    executor = LoadExecutor(1, "load", clock)
    hanging, following = gates = submit(executor, 2)
    with ending(executor, *gates):
        assert hanging.has_begun()
        assert not following.began.is_set()

        clock.advance(STALL_SECONDS)

        assert following.has_begun()
        assert threads_of("load") == ["load_0", "load_1", "load_dispatch"]


def test_each_stalled_work_gives_up_one_place_and_no_more(
    clock: ManualClock, warnings: Warnings
) -> None:
    executor = LoadExecutor(1, "load", clock)
    gates = submit(executor, 4)
    with ending(executor, *gates):
        for number in range(3):
            assert gates[number].has_begun()
            clock.advance(STALL_SECONDS)
            warnings.next()
            assert gates[number + 1].has_begun()
            assert not any(gate.began.is_set() for gate in gates[number + 2 :])


def test_work_that_has_not_stalled_yet_keeps_its_place(
    clock: ManualClock, warnings: Warnings
) -> None:
    executor = LoadExecutor(2, "load", clock)
    hanging, running, following, last = gates = [Gate() for _ in range(4)]
    with ending(executor, *gates):
        executor.submit(hanging)
        assert hanging.has_begun()
        clock.advance(1)
        for gate in (running, following, last):
            executor.submit(gate)
        assert running.has_begun()

        clock.advance(STALL_SECONDS - 1)
        warnings.next()

        assert following.has_begun()
        assert not last.began.is_set()
        assert not warnings.has_more()


def test_work_submitted_behind_stalled_work_starts_at_once(
    clock: ManualClock, warnings: Warnings
) -> None:
    executor = LoadExecutor(1, "load", clock)
    hanging, late = Gate(), Gate()
    with ending(executor, hanging, late):
        executor.submit(hanging)
        assert hanging.has_begun()
        clock.advance(STALL_SECONDS)
        warnings.next()

        executor.submit(late)

        assert late.has_begun()


def test_what_waits_behind_stalled_work_keeps_its_order(clock: ManualClock) -> None:
    executor = LoadExecutor(1, "load", clock)
    ran: list[int] = []
    has_ended = threading.Event()
    (hanging,) = submit(executor, 1)
    for number in range(10):
        executor.submit(lambda number=number: ran.append(number))  # type: ignore[misc]
    executor.submit(has_ended.set)
    with ending(executor, hanging):
        assert hanging.has_begun()

        clock.advance(STALL_SECONDS)

        assert has_ended.wait(PATIENCE_SECONDS)
        assert ran == list(range(10))


def test_as_many_run_at_a_time_as_there_are_places() -> None:
    executor = LoadExecutor(3, "load")
    counting = threading.Lock()
    all_together = threading.Barrier(3)
    counts: list[int] = []
    running = 0

    def work() -> None:
        nonlocal running
        with counting:
            running += 1
            counts.append(running)
        all_together.wait(PATIENCE_SECONDS)
        with counting:
            running -= 1

    for _ in range(30):
        executor.submit(work)
    executor.shutdown()

    assert len(counts) == 30
    assert max(counts) == 3


def test_stalled_work_that_ends_makes_no_place_for_another(
    clock: ManualClock, warnings: Warnings
) -> None:
    executor = LoadExecutor(1, "load", clock)
    hanging, running, following, last = gates = submit(executor, 4)
    with ending(executor, *gates):
        assert hanging.has_begun()
        clock.advance(STALL_SECONDS)
        assert running.has_begun()

        hanging.end()
        running.end()

        assert following.has_begun()
        executor.submit(lambda: None)  # when this returns, all that was to be started has been
        assert threads_of("load") == ["load_0", "load_dispatch"]
        assert not last.began.is_set()


def test_a_thread_is_lent_for_so_many_stalled_works_only(
    clock: ManualClock, warnings: Warnings
) -> None:
    executor = LoadExecutor(1, "load", clock)
    *hanging, waiting = gates = submit(executor, 1 + MAX_LENT_THREADS + 1)
    with ending(executor, *gates):
        for gate in hanging[:-1]:
            assert gate.has_begun()
            clock.advance(STALL_SECONDS)
            assert "no longer wait for it" in warnings.next()
        assert hanging[-1].has_begun()
        clock.advance(STALL_SECONDS)
        assert "others wait, because 64 more hang like this" in warnings.next()
        assert not waiting.began.is_set()

        hanging[7].let_go()

        assert waiting.has_begun()


def test_stalled_work_is_told_once_with_its_thread_and_its_time(
    clock: ManualClock, warnings: Warnings
) -> None:
    executor = LoadExecutor(1, "unload", clock)
    hanging, following = gates = submit(executor, 2)
    with ending(executor, *gates):
        assert hanging.has_begun()
        clock.advance(75)
        assert "unload_0, which is that of one version, has not ended for 75 s" in warnings.next()
        assert following.has_begun()
        clock.advance(STALL_SECONDS)
        assert "unload_1" in warnings.next()

    assert not warnings.has_more()


@pytest.mark.parametrize("failure", [ValueError("broken"), SystemExit(3)], ids=repr)
def test_work_that_fails_is_told_and_delays_no_other(
    failure: BaseException, warnings: Warnings
) -> None:
    executor = LoadExecutor(1, "load")
    ran = threading.Event()

    def fail() -> None:
        raise failure

    executor.submit(fail)
    executor.submit(ran.set)
    executor.shutdown()

    assert ran.is_set()
    assert warnings.next() == "The work on load_0 failed"


def test_a_shutdown_waits_for_all_work_and_ends_all_threads(clock: ManualClock) -> None:
    executor = LoadExecutor(1, "load", clock)
    hanging, following = submit(executor, 2)
    assert hanging.has_begun()
    closing = threading.Thread(target=executor.shutdown)
    closing.start()

    clock.advance(STALL_SECONDS)
    assert following.has_begun()
    following.let_go()
    assert closing.is_alive()
    hanging.let_go()
    closing.join(PATIENCE_SECONDS)

    assert not closing.is_alive()
    assert threads_of("load") == []


def test_without_work_there_are_no_threads() -> None:
    executor = LoadExecutor(2, "load")
    for _ in range(3):
        gates = submit(executor, 2)
        assert all(gate.has_begun() for gate in gates)
        threads = [t for t in threading.enumerate() if t.name.startswith("load_")]
        assert len(threads) == 3

        for gate in gates:
            gate.let_go()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)

        assert threads_of("load") == []


# Through the manager…


class HangingLoader(FakeLoader):
    """A Loader that hangs in `load`, or in `unload`, until its gate is let go."""

    def __init__(self, *, load: Gate | None = None, unload: Gate | None = None) -> None:
        super().__init__()
        self._gates = (load, unload)

    def load(self) -> None:
        if self._gates[0] is not None:
            self._gates[0]()
        super().load()

    def unload(self) -> None:
        if self._gates[1] is not None:
            self._gates[1]()
        super().unload()


def aspire(manager: AspiredVersionsManager, name: str, loader: FakeLoader) -> None:
    manager.set_aspired_versions(name, [ServableData(ServableId(name, 1), loader)])


def reach(manager: AspiredVersionsManager, name: str, goal: ManagerState) -> bool:
    return manager.monitor.wait_until_reached([ServableRequest.latest(name)], goal).is_success


def test_a_load_that_hangs_keeps_no_other_model_from_becoming_available(clock: ManualClock) -> None:
    gate = Gate()
    with AspiredVersionsManager(clock=clock) as manager:
        aspire(manager, "hanging", HangingLoader(load=gate))
        assert gate.has_begun()
        aspire(manager, "healthy", FakeLoader())

        clock.advance(STALL_SECONDS)

        assert reach(manager, "healthy", ManagerState.AVAILABLE)
        assert not manager.stop(0.0)
        gate.let_go()
        assert manager.stop(PATIENCE_SECONDS)
    assert threads_of("load") == []


def test_an_unload_that_hangs_keeps_no_other_version_loaded(clock: ManualClock) -> None:
    gate = Gate()
    healthy = FakeLoader()
    with AspiredVersionsManager(clock=clock) as manager:
        aspire(manager, "hanging", HangingLoader(unload=gate))
        aspire(manager, "healthy", healthy)
        assert reach(manager, "hanging", ManagerState.AVAILABLE)
        assert reach(manager, "healthy", ManagerState.AVAILABLE)
        manager.set_aspired_versions("hanging", [])
        assert gate.has_begun()
        manager.set_aspired_versions("healthy", [])

        clock.advance(STALL_SECONDS)

        assert reach(manager, "healthy", ManagerState.END)
        assert healthy.unloads == 1
        gate.let_go()
