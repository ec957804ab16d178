import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.errors import UnavailableError
from modelserver.sources.storage.ranged_file import open_ranged

CONTENT = bytes(range(256)) * 4096  # a megabyte


class Reads:
    """What a file is read from: the ranges that were asked for."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= len(self.content)
        self.ranges.append((start, stop))
        return self.content[start:stop]

    def open(self):
        return open_ranged(len(self.content), self)


def test_nothing_is_read_before_it_is_looked_at() -> None:
    reads = Reads()

    with reads.open() as file:
        file.seek(0, io.SEEK_END)
        assert file.tell() == len(CONTENT)

    assert reads.ranges == []


def test_what_is_looked_at_is_read_and_little_else() -> None:
    reads = Reads()

    with reads.open() as file:
        head = file.read(4)
        file.seek(-8, io.SEEK_END)
        tail = file.read()

    assert (head, tail) == (CONTENT[:4], CONTENT[-8:])
    assert reads.ranges == [(0, 65536), (len(CONTENT) - 8, len(CONTENT))]


def test_what_follows_in_the_buffer_is_not_read_again() -> None:
    reads = Reads()

    with reads.open() as file:
        pieces = [file.read(1000) for _ in range(60)]

    assert b"".join(pieces) == CONTENT[:60_000]
    assert len(reads.ranges) == 1


def test_all_that_is_left_is_one_read() -> None:
    reads = Reads()

    with reads.open() as file:
        file.seek(10)
        assert file.read() == CONTENT[10:]
        assert file.read() == b""

    assert reads.ranges == [(10, len(CONTENT))]


def test_a_large_piece_is_few_reads() -> None:
    reads = Reads()

    with reads.open() as file:
        assert file.read(500_000) == CONTENT[:500_000]

    assert len(reads.ranges) <= 2


def test_behind_the_end_there_is_nothing() -> None:
    reads = Reads()

    with reads.open() as file:
        file.seek(len(CONTENT) + 5)
        assert (file.read(1), file.read()) == (b"", b"")

    assert reads.ranges == []


def test_an_empty_file_is_never_read() -> None:
    reads = Reads(b"")

    with reads.open() as file:
        assert (file.read(1), file.read()) == (b"", b"")

    assert reads.ranges == []


def test_an_error_of_the_store_comes_out_as_it_is() -> None:
    def fail(start: int, stop: int) -> bytes:
        raise UnavailableError(f"no {start} to {stop}")

    with (
        open_ranged(10, fail) as file,
        pytest.raises(UnavailableError, match=r"^no 0 to 10$"),
    ):
        file.read(1)


def test_an_archive_is_understood_without_its_content() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("first", CONTENT)
        archive.writestr("second", b"x")
    reads = Reads(content.getvalue())

    with reads.open() as file, zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["first", "second"]

    assert sum(stop - start for start, stop in reads.ranges) < 200_000


seeks = st.tuples(st.just("seek"), st.integers(0, 250), st.just(io.SEEK_SET))
steps = st.lists(
    st.one_of(
        seeks,
        st.tuples(st.just("seek"), st.integers(-50, 50), st.just(io.SEEK_END)),
        st.tuples(st.just("read"), st.integers(-1, 150)),
        st.tuples(st.just("readline")),
        st.tuples(st.just("tell")),
    ),
    max_size=12,
)


@given(st.binary(min_size=50, max_size=200), steps)
def test_it_reads_as_a_file_in_memory_does(content, steps):
    with Reads(content).open() as file, io.BytesIO(content) as expected:
        for method, *arguments in steps:
            assert getattr(file, method)(*arguments) == getattr(expected, method)(*arguments)
