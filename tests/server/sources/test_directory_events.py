import errno
import logging
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelserver.sources.directory_events import DirectoryEvents
from modelserver.sources.inotify import Inotify, Record, parse

PATIENCE_SECONDS = 20
QUIET_SECONDS = 0.01

IN_CREATE = 0x100
IN_Q_OVERFLOW = 0x4000


class Calls:
    """Calls of a listener, handed from the thread of the events to the test's."""

    def __init__(self) -> None:
        self._calls: queue.Queue[str] = queue.Queue()

    def __call__(self) -> None:
        self._calls.put(threading.current_thread().name)

    def next(self) -> str:
        return self._calls.get(timeout=PATIENCE_SECONDS)

    def count(self) -> int:
        return self._calls.qsize()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "directory-events"]


@pytest.fixture
def make() -> Iterator[Callable[..., DirectoryEvents]]:
    made: list[DirectoryEvents] = []

    def make(open_inotify: Callable[[], Inotify] = Inotify) -> DirectoryEvents:
        made.append(DirectoryEvents(QUIET_SECONDS, open_inotify))
        return made[-1]

    yield make
    for events in made:
        events.close()
    for thread in threads():
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


@pytest.fixture
def events(make: Callable[..., DirectoryEvents]) -> DirectoryEvents:
    return make()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def told_all(events: DirectoryEvents, tmp_path: Path) -> Callable[[], None]:
    """Wait until all that has happened up to now has been told."""
    other, calls = tmp_path / "other", Calls()
    other.mkdir()
    events.watch(str(other), calls)
    names = iter(range(1000))

    def told_all() -> None:
        for _ in range(2):  # the first may be told together with what it is to come after
            (other / str(next(names))).mkdir()
            calls.next()

    return told_all


def test_a_new_version_is_told(events: DirectoryEvents, base: Path, calls: Calls) -> None:
    events.watch(str(base), calls)

    (base / "1").mkdir()

    assert calls.next() == "directory-events"


def test_a_version_renamed_into_place_is_told(
    events: DirectoryEvents, base: Path, tmp_path: Path, calls: Calls
) -> None:
    (tmp_path / "made").mkdir()
    events.watch(str(base), calls)

    (tmp_path / "made").rename(base / "1")

    calls.next()


@pytest.mark.parametrize(
    "change",
    [
        lambda version: version.rmdir(),
        lambda version: version.rename(version.parent.parent / "away"),
        lambda version: version.chmod(0o700),
    ],
    ids=["deleted", "renamed away", "given other permissions"],
)
def test_a_version_that_changes_as_a_whole_is_told(
    change: Callable[[Path], None], events: DirectoryEvents, base: Path, calls: Calls
) -> None:
    (base / "1").mkdir()
    events.watch(str(base), calls)

    change(base / "1")

    calls.next()


def test_looking_at_a_directory_is_no_change(
    events: DirectoryEvents, base: Path, calls: Calls, told_all: Callable[[], None]
) -> None:
    (base / "1").mkdir()
    (base / "1" / "model").write_text("x")
    events.watch(str(base), calls)

    assert [path.name for path in base.rglob("*")] == ["1", "model"]
    assert (base / "1" / "model").read_text() == "x"
    told_all()

    assert calls.count() == 0


def test_a_burst_is_told_in_few_calls(
    events: DirectoryEvents, base: Path, calls: Calls, told_all: Callable[[], None]
) -> None:
    events.watch(str(base), calls)

    for version in range(1000):
        (base / str(version)).mkdir()
    told_all()

    assert 1 <= calls.count() < 500


def test_a_change_after_one_that_was_told_is_told_again(
    events: DirectoryEvents, base: Path, calls: Calls
) -> None:
    events.watch(str(base), calls)

    for version in range(3):
        (base / str(version)).mkdir()
        calls.next()


def test_each_directory_has_its_own_listener(
    events: DirectoryEvents, base: Path, calls: Calls, told_all: Callable[[], None]
) -> None:
    events.watch(str(base), calls)

    told_all()

    assert calls.count() == 0


def test_a_watch_that_is_ended_tells_nothing(
    events: DirectoryEvents, base: Path, calls: Calls, told_all: Callable[[], None]
) -> None:
    end = events.watch(str(base), calls)

    end()
    end()
    (base / "1").mkdir()
    told_all()

    assert calls.count() == 0


def test_a_new_watch_takes_the_place_of_the_one_before(
    events: DirectoryEvents, base: Path, calls: Calls, told_all: Callable[[], None]
) -> None:
    before = Calls()
    end = events.watch(str(base), before)
    events.watch(str(base), calls)

    end()
    (base / "1").mkdir()

    calls.next()
    told_all()
    assert before.count() == 0


def test_a_directory_known_by_two_paths_is_told_to_both(
    events: DirectoryEvents, base: Path, tmp_path: Path, calls: Calls
) -> None:
    (tmp_path / "link").symlink_to(base)
    others = Calls()
    events.watch(str(base), calls)
    events.watch(str(tmp_path / "link"), others)

    (base / "1").mkdir()

    calls.next()
    others.next()


@pytest.mark.parametrize(
    "remove",
    [lambda base: base.rmdir(), lambda base: base.rename(base.parent / "away")],
    ids=["deleted", "renamed"],
)
def test_a_directory_that_goes_is_told_and_another_in_its_place_is_to_be_watched_anew(
    remove: Callable[[Path], None],
    events: DirectoryEvents,
    base: Path,
    calls: Calls,
    told_all: Callable[[], None],
) -> None:
    events.watch(str(base), calls)

    remove(base)
    calls.next()
    base.mkdir()
    (base / "1").mkdir()
    told_all()
    assert calls.count() == 0

    events.watch(str(base), calls)
    (base / "2").mkdir()
    calls.next()


def test_a_directory_that_was_renamed_away_tells_nothing_more(
    events: DirectoryEvents, base: Path, calls: Calls, told_all: Callable[[], None]
) -> None:
    events.watch(str(base), calls)
    away = base.rename(base.parent / "away")
    calls.next()

    (away / "1").mkdir()
    told_all()

    assert calls.count() == 0


def test_what_cannot_be_watched_is_no_error(
    events: DirectoryEvents, base: Path, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "modelserver.sources.directory_events")
    (base / "file").touch()

    for path in (base / "missing", base / "file"):
        events.watch(str(path), calls)()

    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
    assert caplog.messages[0].endswith("base/missing: [Errno 2] No such file or directory")
    assert caplog.messages[1].endswith("base/file: [Errno 20] Not a directory")


def test_a_system_without_inotify_is_no_error(
    make: Callable[..., DirectoryEvents], base: Path, calls: Calls
) -> None:
    def refuse() -> Inotify:
        raise OSError(errno.ENOSYS, "This system has no inotify_init1")

    make(refuse).watch(str(base), calls)()

    assert threads() == []


def test_a_path_that_hangs_keeps_no_other_from_being_watched_and_told(
    make: Callable[..., DirectoryEvents], base: Path, tmp_path: Path, calls: Calls
) -> None:
    hangs, may_go_on = threading.Event(), threading.Event()

    class HangingInotify(Inotify):
        def watch(self, path: str) -> int:
            if path.endswith("hanging"):
                hangs.set()
                assert may_go_on.wait(PATIENCE_SECONDS)
            return super().watch(path)

    events = make(HangingInotify)
    (tmp_path / "hanging").mkdir()
    late = Calls()
    poll = threading.Thread(target=events.watch, args=[str(tmp_path / "hanging"), late])
    poll.start()
    assert hangs.wait(PATIENCE_SECONDS)

    events.watch(str(base), calls)
    (base / "1").mkdir()
    calls.next()

    may_go_on.set()
    poll.join(PATIENCE_SECONDS)
    (tmp_path / "hanging" / "1").mkdir()
    late.next()


def test_where_records_are_lost_all_are_told(
    make: Callable[..., DirectoryEvents], base: Path, tmp_path: Path, calls: Calls
) -> None:
    class LossyInotify(Inotify):
        def read(self, quiet_seconds: float) -> list[Record] | None:
            return super().read(quiet_seconds) and [Record(-1, IN_Q_OVERFLOW)]

    events = make(LossyInotify)
    (tmp_path / "other").mkdir()
    others = Calls()
    events.watch(str(base), calls)
    events.watch(str(tmp_path / "other"), others)

    (base / "1").mkdir()

    calls.next()
    others.next()


def test_a_listener_that_fails_ends_nothing(
    events: DirectoryEvents, base: Path, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        calls()
        raise ValueError("broken")

    events.watch(str(base), fail)

    for version in range(2):
        (base / str(version)).mkdir()
        calls.next()

    assert f"The listener to changes of {base} failed" in caplog.messages


def test_closing_ends_the_thread_and_all_watches(
    events: DirectoryEvents, base: Path, calls: Calls
) -> None:
    end = events.watch(str(base), calls)
    (thread,) = threads()
    assert thread.daemon

    events.close()
    events.close()
    thread.join(PATIENCE_SECONDS)

    assert not thread.is_alive()
    (base / "1").mkdir()
    events.watch(str(base), calls)()
    end()
    assert threads() == []
    assert calls.count() == 0


def test_closing_gives_its_descriptors_back(
    make: Callable[..., DirectoryEvents], base: Path, calls: Calls
) -> None:
    given_back = Calls()

    class ClosingInotify(Inotify):
        def close(self) -> None:
            super().close()
            given_back()

    events = make(ClosingInotify)
    events.watch(str(base), calls)
    assert given_back.count() == 0

    events.close()

    given_back.next()


def test_without_a_watch_there_is_no_thread(events: DirectoryEvents) -> None:
    assert threads() == []


def test_records_are_taken_apart_whatever_their_names() -> None:
    data = b"".join(
        struct.pack("iIII", number, IN_CREATE, 0, len(name)) + name
        for number, name in [(1, b""), (2, b"7\0\0\0"), (-1, b"a-longer-name\0\0\0")]
    )

    assert parse(data) == [Record(1, IN_CREATE), Record(2, IN_CREATE), Record(-1, IN_CREATE)]
    assert parse(b"") == []


@pytest.mark.parametrize(
    ("mask", "is_end", "is_loss"),
    [
        (IN_CREATE, False, False),
        (0x400, True, False),
        (0x800, True, False),
        (0x2000, True, False),
        (0x8000, True, False),
        (IN_Q_OVERFLOW, False, True),
    ],
    ids=["create", "delete self", "move self", "unmount", "ignored", "overflow"],
)
def test_a_record_says_whether_its_watch_is_over_and_whether_others_are_lost(
    mask: int, is_end: bool, is_loss: bool
) -> None:
    record = Record(1, mask)

    assert (record.is_end, record.is_loss) == (is_end, is_loss)
