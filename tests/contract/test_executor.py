"""The promises that the manager needs of an executor, kept by the real one and by the fakes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelserver.core.load_executor import LoadExecutor
from modelserver.testing.executor import InlineExecutor, ManualExecutor

PATIENCE_SECONDS = 20

EXECUTORS = {
    "LoadExecutor": lambda: LoadExecutor(1, "load"),
    "ThreadPoolExecutor": lambda: ThreadPoolExecutor(1),
    "InlineExecutor": InlineExecutor,
    "ManualExecutor": ManualExecutor,
}


def finish(executor):
    """Wait until everything that was submitted has run."""
    if isinstance(executor, ManualExecutor):
        executor.run_all()
    elif isinstance(executor, LoadExecutor | ThreadPoolExecutor):
        executor.shutdown()


@pytest.fixture(params=EXECUTORS.values(), ids=EXECUTORS)
def executor(request):
    return request.param()


def test_everything_submitted_runs_once_and_in_order(executor):
    ran = []

    for number in range(5):
        executor.submit(lambda number=number: ran.append(number))
    finish(executor)

    assert ran == [0, 1, 2, 3, 4]


def test_work_may_submit_more_work(executor):
    ran = []
    has_submitted = threading.Event()

    def work():
        ran.append("first")
        executor.submit(lambda: ran.append("second"))
        has_submitted.set()

    executor.submit(work)
    if not isinstance(executor, ManualExecutor):
        assert has_submitted.wait(PATIENCE_SECONDS)
    finish(executor)

    assert ran == ["first", "second"]


def test_a_shutdown_runs_what_waits(executor):
    ran = []
    executor.submit(lambda: ran.append("work"))

    executor.shutdown()

    assert ran == ["work"]


def test_after_a_shutdown_work_is_refused(executor):
    executor.shutdown()

    with pytest.raises(RuntimeError, match=r"after shutdown"):
        executor.submit(lambda: None)
