"""Owner and supervisor understand each other."""

import contextlib
import threading

import pytest

from testcluster import control
from testcluster.errors import ClusterError


@pytest.fixture
def supervisor(tmp_path):
    """A control socket behind which `greet` is known and `fail` fails."""
    heard = []

    def fail(fault):
        raise {"ours": ValueError, "theirs": ClusterError}[fault]("it is broken")

    class Ended(BaseException):
        pass

    def end():
        raise Ended

    def serve():
        with control.listen(tmp_path / "socket") as listening:
            ready.set()
            with contextlib.suppress(Ended):
                control.serve(listening, {"greet": heard.append, "fail": fail, "end": end})

    ready = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()
    yield tmp_path / "socket", heard
    with pytest.raises(ClusterError, match="The supervisor ended"):
        control.ask(tmp_path / "socket", "end")
    thread.join()


def test_a_request_reaches_its_handler_with_its_words(supervisor):
    path, heard = supervisor

    control.ask(path, "greet", "world")

    assert heard == ["world"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [("theirs", "^it is broken$"), ("ours", r"^fail ours: ValueError\('it is broken'\)$")],
)
def test_a_failed_request_raises_what_went_wrong_and_the_next_is_heard(supervisor, fault, message):
    path, heard = supervisor

    with pytest.raises(ClusterError, match=message):
        control.ask(path, "fail", fault)
    control.ask(path, "greet", "again")

    assert heard == ["again"]


def test_a_request_to_nobody_says_so(tmp_path):
    with pytest.raises(ClusterError, match="No supervisor answers"):
        control.ask(tmp_path / "nothing", "greet")
