import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.errors import InvalidArgumentError
from modelserver.lookup.table import LookupTable


def test_rows_are_found_by_string() -> None:
    table = LookupTable([b"cat", b"dog"], np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))

    rows = table.find(np.array([b"dog", b"bird", b"cat"], object))

    assert rows.tolist() == [1, -1, 0]
    assert table.gather(rows).tolist() == [[3.0, 4.0], [0.0, 0.0], [1.0, 2.0]]


def test_rows_are_found_by_integer() -> None:
    table = LookupTable([-5, 2**62], np.array([10, 20], np.int32))

    rows = table.find(np.array([2**62, 0, -5], np.int64))

    assert rows.tolist() == [1, -1, 0]
    assert table.gather(rows).tolist() == [20, 0, 10]


def test_a_vocabulary_gives_row_numbers_and_minus_one_for_the_missing() -> None:
    table = LookupTable([b"[PAD]", b"the"])

    values = table.gather(table.find(np.array([b"the", b"THE", b"[PAD]"], object)))

    assert values.tolist() == [1, -1, 0]
    assert values.dtype == np.int64


def test_rows_may_have_any_shape() -> None:
    table = LookupTable([1], np.ones((1, 2, 3), np.float16))

    values = table.gather(table.find(np.array([1, 2])))

    assert table.value_shape == (2, 3)
    assert values.shape == (2, 2, 3)
    assert values.dtype == np.float16


def test_no_keys_at_all_find_no_rows() -> None:
    table = LookupTable([b"a"], np.ones((1, 4), np.float32))

    assert table.gather(table.find(np.array([], object))).shape == (0, 4)


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="the table has no rows"):
        LookupTable([])


def test_a_key_that_is_there_twice_is_refused_with_both_rows() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^key b'b' is in row 1 and again in row 3$"):
        LookupTable([b"a", b"b", b"c", b"b"])


@given(
    keys=st.lists(st.binary(max_size=3), min_size=1, unique=True),
    asked=st.lists(st.binary(max_size=3)),
)
def test_it_agrees_with_a_list_of_keys(keys: list[bytes], asked: list[bytes]) -> None:
    table = LookupTable(keys)
    query = np.empty(len(asked), object)
    query[:] = asked

    rows = table.find(query)

    assert rows.tolist() == [keys.index(key) if key in keys else -1 for key in asked]
