import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.sources.cache.checksum import combine, combined, extend

crcs = st.integers(0, 2**32 - 1)
lengths = st.integers(0, 2**45)


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        # RFC 3720, B.4
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
    ],
)
def test_the_checksum_is_crc32c(data: bytes, crc: int) -> None:
    assert extend(0, data) == crc


@given(st.binary(max_size=200))
def test_two_parts_have_the_checksum_of_the_whole_wherever_it_is_cut(data):
    for cut in range(len(data) + 1):
        first, second = data[:cut], data[cut:]

        whole = combine(extend(0, first), extend(0, second), len(second))

        assert whole == extend(0, data) == extend(extend(0, first), second)


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_any_number_of_parts_has_the_checksum_of_the_whole(parts):
    assert combined((extend(0, part), len(part)) for part in parts) == extend(0, b"".join(parts))


@given(crcs, crcs, crcs, lengths, lengths)
def test_it_does_not_matter_which_parts_are_taken_together_first(a, b, c, b_length, c_length):
    left = combine(combine(a, b, b_length), c, c_length)
    right = combine(a, combine(b, c, c_length), b_length + c_length)

    assert left == right


@pytest.mark.parametrize("length", [1, 4095, 4096, 1 << 20, (16 << 20) + 1])
def test_large_parts_have_the_checksum_of_the_whole(length: int) -> None:
    second = bytes([7]) * length

    assert combine(extend(0, b"first"), extend(0, second), length) == extend(0, b"first" + second)
