"""CRC32C of content that is read in parts: the checksum by which GCS states what an object is."""

from collections.abc import Iterable
from functools import lru_cache

import google_crc32c

_POLYNOMIAL = 0x82F63B78
_BITS = 32
_BITS_OF_A_BYTE = 3  # 2 ** 3 = 8


def extend(crc: int, data: bytes) -> int:
    """The checksum of what had `crc`, followed by `data`."""
    return int(google_crc32c.extend(crc, data))


def combined(parts: Iterable[tuple[int, int]]) -> int:
    """The checksum of parts that follow each other, each given by its checksum and its length."""
    total = 0
    for crc, length in parts:
        total = combine(total, crc, length)
    return total


def combine(first: int, second: int, second_length: int) -> int:
    """The checksum of two pieces of content, from theirs and the length of the second in bytes.

    A checksum is linear: zeros that follow multiply it by a matrix over GF(2).
    """
    for exponent in range(second_length.bit_length()):
        if second_length >> exponent & 1:
            first = _times(_zero_bits(exponent + _BITS_OF_A_BYTE), first)
    return first ^ second


@lru_cache(maxsize=64 + _BITS_OF_A_BYTE)
def _zero_bits(exponent: int) -> tuple[int, ...]:
    """The matrix of 2 ** `exponent` zero bits, as the images of the 32 bits of a checksum."""
    if exponent == 0:
        return (_POLYNOMIAL, *(1 << bit for bit in range(_BITS - 1)))
    half = _zero_bits(exponent - 1)
    return tuple(_times(half, column) for column in half)


def _times(matrix: tuple[int, ...], vector: int) -> int:
    result = 0
    for column in matrix:
        if vector & 1:
            result ^= column
        vector >>= 1
    return result
