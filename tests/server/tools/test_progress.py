"""How far a copy is, as people are told."""

import io
import threading

import pytest

from modelserver.testing.clock import ManualClock
from modelserver.tools.progress import Progress, ProgressReport, run_watched

PATIENCE_SECONDS = 20


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock():
    return ManualClock()


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(0, 4_000_000, 0, 0.0), "0 bytes of 4.0 MB (0%), 0 bytes/s"),
        (Progress(1_000_000, 4_000_000, 1_000_000, 2.0), "1.0 MB of 4.0 MB (25%), 500.0 kB/s"),
        (Progress(3_000_000, 4_000_000, 1_000_000, 1.0), "3.0 MB of 4.0 MB (75%), 1.0 MB/s"),
        (Progress(0, 0, 0, 1.0), "0 bytes of 0 bytes (100%), 0 bytes/s"),
    ],
)
def test_progress_has_bytes_a_share_and_the_rate_of_what_was_received(progress, words):
    assert str(progress) == words


def show_for(seconds, stream, clock):
    report = ProgressReport("7", stream, clock)
    for second in range(seconds):
        report.show(Progress(second, 100, second, second))
        clock.advance(1.0)
    report.end()


def test_on_a_terminal_one_line_changes_and_nothing_of_it_is_left(clock):
    terminal = Terminal()

    show_for(3, terminal, clock)

    _, first, second, third, rest = terminal.getvalue().split("\r\x1b[K")
    assert [line.partition(" of")[0] for line in (first, second, third)] == [
        "7: 0 bytes",
        "7: 1 bytes",
        "7: 2 bytes",
    ]
    assert rest == ""
    assert "\n" not in terminal.getvalue()


def test_elsewhere_there_is_a_line_every_five_seconds(clock):
    log = io.StringIO()

    show_for(13, log, clock)

    assert [line.partition(" of")[0] for line in log.getvalue().splitlines()] == [
        "7: 5 bytes",
        "7: 10 bytes",
    ]


def test_work_is_watched_until_it_has_ended(clock):
    seen = threading.Event()

    def work():
        while not seen.is_set():
            clock.advance(1.0)

    run_watched(work, seen.set, stop=seen.clear, clock=clock)

    assert seen.is_set()


def test_what_work_raises_comes_out(clock):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_watched(fail, watch=lambda: None, stop=lambda: None, clock=clock)


def test_an_interruption_stops_the_work(clock):
    stopped, ended = threading.Event(), threading.Event()

    def work():
        while not stopped.is_set():
            clock.advance(1.0)
        ended.set()

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_watched(work, interrupt, stopped.set, clock)

    assert ended.wait(PATIENCE_SECONDS)
