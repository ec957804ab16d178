"""The promises that the manager needs of an executor, kept by the real one and by the fakes."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from modelserver.testing.executor import InlineExecutor, ManualExecutor


def finish(executor):
    """Wait until everything that was submitted has run."""
    if isinstance(executor, ManualExecutor):
        executor.run_all()
    elif isinstance(executor, ThreadPoolExecutor):
        executor.shutdown()


@pytest.fixture(params=[lambda: ThreadPoolExecutor(1), InlineExecutor, ManualExecutor])
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

    def work():
        ran.append("first")
        executor.submit(lambda: ran.append("second"))

    executor.submit(work)
    if isinstance(executor, ThreadPoolExecutor):
        while len(ran) < 2:
            executor.submit(lambda: None).result()
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
