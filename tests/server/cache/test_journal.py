import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.sources.cache.journal import Journal
from modelserver.sources.cache.parts import Part

A, B, C = Part("a", 0, 16), Part("a", 16, 20), Part("b/c", 0, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def open_journal(path: Path) -> Iterator[Callable[[], Journal]]:
    opened: list[Journal] = []

    def open_one() -> Journal:
        opened.append(Journal(str(path)))
        return opened[-1]

    yield open_one
    for journal in opened:
        journal.close()


def parts_in(path: Path) -> dict[Part, int]:
    journal = Journal(str(path))
    journal.close()
    return journal.parts


def test_a_new_journal_knows_of_nothing(open_journal: Callable[[], Journal]) -> None:
    assert open_journal().parts == {}


def test_what_is_recorded_is_known_at_once_and_to_whoever_opens_it_next(
    open_journal: Callable[[], Journal],
) -> None:
    journal = open_journal()

    journal.record(A, 7)
    journal.record(C, 2**32 - 1)

    assert journal.parts == {A: 7, C: 2**32 - 1}
    assert open_journal().parts == {A: 7, C: 2**32 - 1}


def test_it_is_known_though_the_journal_was_never_closed(
    open_journal: Callable[[], Journal], path: Path
) -> None:
    open_journal().record(A, 7)

    assert parts_in(path) == {A: 7}


def test_a_part_that_was_fetched_again_has_its_newest_checksum(
    open_journal: Callable[[], Journal],
) -> None:
    journal = open_journal()

    journal.record(A, 7)
    journal.record(A, 8)

    assert open_journal().parts == {A: 8}


def test_what_is_forgotten_is_all_parts_of_that_file_and_of_no_other(
    open_journal: Callable[[], Journal],
) -> None:
    journal = open_journal()
    for part in (A, B, C):
        journal.record(part, 7)

    journal.forget("a")

    assert journal.parts == {C: 7}
    assert open_journal().parts == {C: 7}


def test_what_was_forgotten_can_be_recorded_again(open_journal: Callable[[], Journal]) -> None:
    journal = open_journal()
    journal.record(A, 7)
    journal.forget("a")

    journal.record(A, 8)

    assert open_journal().parts == {A: 8}


@pytest.mark.parametrize("name", ["größe/模型", "line\nbreak", 'quo"te', "\udcff", "", "a" * 1000])
def test_any_name_is_kept_as_it_is(open_journal: Callable[[], Journal], name: str) -> None:
    open_journal().record(Part(name, 0, 1), 7)

    assert open_journal().parts == {Part(name, 0, 1): 7}


def test_a_crash_at_any_byte_leaves_the_parts_whose_lines_are_whole(
    open_journal: Callable[[], Journal], path: Path
) -> None:
    journal = open_journal()
    known: list[tuple[int, dict[Part, int]]] = [(0, {})]
    for part in (A, B, C):
        journal.record(part, 7)
        known.append((path.stat().st_size, dict(journal.parts)))
    content = path.read_bytes()

    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        assert parts_in(path) == [parts for length, parts in known if length <= size][-1]


def test_what_is_recorded_after_a_crash_is_read_though_a_line_was_cut_off(
    open_journal: Callable[[], Journal], path: Path
) -> None:
    open_journal().record(A, 7)
    with path.open("ab") as file:
        file.write(b'["a", 16, ')

    open_journal().record(C, 9)

    assert parts_in(path) == {A: 7, C: 9}


def test_what_follows_a_line_that_cannot_be_read_is_not_trusted(
    open_journal: Callable[[], Journal], path: Path
) -> None:
    open_journal().record(A, 7)
    good = path.read_bytes()
    path.write_bytes(good + b"\0" * 10 + b"\n" + good.replace(b"a", b"b"))

    assert parts_in(path) == {A: 7}


lines_of_other_kinds = st.one_of(
    st.binary(),
    st.sampled_from([b"", b"1", b"{}", b'"a"', b'"abcd"', b"null", b"[]", b'["a", 1]']),
    st.sampled_from([b'["a", 1, 2]', b'["a", "x", 2, 3]', b'["a", 1, 2, null]', b"[[[["]),
)


@given(lines_of_other_kinds)
def test_rubbish_is_no_error_and_takes_nothing_away(tmp_path_factory, rubbish):
    path = tmp_path_factory.mktemp("rubbish") / "journal"
    journal = Journal(str(path))
    journal.record(A, 7)
    journal.close()
    with path.open("ab") as file:
        file.write(rubbish.replace(b"\n", b"") + b"\n")

    assert parts_in(path) == {A: 7}


def test_several_threads_may_record_at_a_time(
    open_journal: Callable[[], Journal], path: Path
) -> None:
    journal = open_journal()

    def record(thread: int) -> None:
        for number in range(100):
            journal.record(Part(f"{thread}", number, number + 1), number)

    threads = [threading.Thread(target=partial(record, thread)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert parts_in(path) == journal.parts
    assert len(journal.parts) == 800
