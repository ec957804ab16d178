from hypothesis import given
from hypothesis import strategies as st

from modelserver.core.storage_path import FileInfo
from modelserver.sources.cache.parts import PART_BYTES, Part, split

sizes = st.dictionaries(st.text("abc/", min_size=1, max_size=4), st.integers(0, 100), max_size=8)


def listing(sizes: dict[str, int]) -> dict[str, FileInfo]:
    return {name: FileInfo(size) for name, size in sizes.items()}


@given(sizes, st.integers(1, 120))
def test_the_parts_of_a_file_follow_each_other_from_its_first_byte_to_its_last(sizes, part_bytes):
    parts = split(listing(sizes), part_bytes)

    for name, size in sizes.items():
        of_file = [part for part in parts if part.name == name]
        stops = [part.stop for part in of_file]
        assert [part.start for part in of_file] == [0, *stops][: len(of_file)]
        assert sum(map(len, of_file)) == size
        assert not of_file or of_file[-1].stop == size
    assert {part.name for part in parts} == {name for name, size in sizes.items() if size}


@given(sizes, st.integers(1, 120))
def test_no_part_is_empty_or_larger_than_it_may_be(sizes, part_bytes):
    assert all(1 <= len(part) <= part_bytes for part in split(listing(sizes), part_bytes))


@given(sizes, st.integers(1, 120))
def test_the_largest_files_come_first_and_each_in_one_piece(sizes, part_bytes):
    names = list(dict.fromkeys(part.name for part in split(listing(sizes), part_bytes)))

    assert names == sorted((n for n in sizes if sizes[n]), key=lambda name: (-sizes[name], name))


def test_a_part_is_named_by_its_file_and_its_range() -> None:
    assert split({"a": FileInfo(5), "b": FileInfo(7)}, 4) == [
        Part("b", 0, 4),
        Part("b", 4, 7),
        Part("a", 0, 4),
        Part("a", 4, 5),
    ]


def test_a_file_is_cut_where_it_is_larger_than_a_request_should_be() -> None:
    assert len(split({"a": FileInfo(PART_BYTES)})) == 1
    assert len(split({"a": FileInfo(PART_BYTES + 1)})) == 2
