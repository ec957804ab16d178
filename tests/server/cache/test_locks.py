import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from modelserver.sources.cache.locks import FileLock, held_alone, try_lock

PATIENCE_SECONDS = 20

HOLDER = """
import signal, sys
from modelserver.sources.cache.locks import try_lock

assert try_lock(sys.argv[1], alone=True) is not None
print("held", flush=True)
signal.pause()
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "lock")


def lock(path: str, *, alone: bool) -> FileLock:
    found = try_lock(path, alone=alone)
    assert found is not None
    return found


def test_any_number_may_hold_it_together(path: str) -> None:
    first, second = lock(path, alone=False), lock(path, alone=False)

    assert try_lock(path, alone=True) is None
    first.release()
    assert try_lock(path, alone=True) is None
    second.release()
    lock(path, alone=True).release()


def test_who_holds_it_alone_holds_it_alone(path: str) -> None:
    alone = lock(path, alone=True)

    assert try_lock(path, alone=True) is None
    assert try_lock(path, alone=False) is None
    alone.release()
    lock(path, alone=False).release()


def test_who_is_refused_keeps_no_file_open(path: str) -> None:
    alone = lock(path, alone=True)
    before = os.listdir("/proc/self/fd")

    for _ in range(3):
        try_lock(path, alone=False)

    assert os.listdir("/proc/self/fd") == before
    alone.release()


def test_a_file_that_was_removed_is_locked_anew(path: str) -> None:
    alone = lock(path, alone=True)

    alone.remove()

    assert not os.path.exists(path)
    again = lock(path, alone=True)
    assert os.path.exists(path)
    assert try_lock(path, alone=True) is None
    again.release()


def test_a_lock_whose_file_somebody_has_removed_excludes_nobody_any_more(path: str) -> None:
    old = lock(path, alone=True)
    os.unlink(path)

    new = lock(path, alone=True)

    old.release()
    assert try_lock(path, alone=True) is None
    new.release()


def test_removing_what_somebody_else_has_removed_lets_go_all_the_same(path: str) -> None:
    before = os.listdir("/proc/self/fd")
    alone = lock(path, alone=True)
    os.unlink(path)

    alone.remove()

    assert os.listdir("/proc/self/fd") == before


def test_of_many_who_lock_and_remove_no_two_hold_it_at_a_time(path: str) -> None:
    inside = threading.Lock()
    overlaps: list[bool] = []

    def take_turns() -> None:
        for _ in range(1000):
            found = try_lock(path, alone=True)
            if found is not None:
                overlaps.append(not inside.acquire(blocking=False))
                os.stat(path)  # others have their turn meanwhile
                inside.release()
                found.remove()

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not any(overlaps)


def test_the_folder_of_a_lock_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        try_lock(str(tmp_path / "gone" / "lock"), alone=True)


def test_those_who_wait_for_it_hold_it_one_after_the_other(path: str) -> None:
    inside: list[int] = []
    most: list[int] = []

    def hold() -> None:
        for _ in range(50):
            with held_alone(path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(most) == 200
    assert max(most) == 1


def test_an_error_lets_go_of_it(path: str) -> None:
    with pytest.raises(KeyError), held_alone(path):
        raise KeyError

    lock(path, alone=True).release()


@pytest.mark.process
def test_a_process_that_is_killed_lets_go_of_it(path: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert try_lock(path, alone=False) is None
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate(timeout=PATIENCE_SECONDS)

    lock(path, alone=True).release()
