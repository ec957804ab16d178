"""Quantities as Kubernetes writes them, in whole units."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver_operator.api.crd import crd
from modelserver_operator.desired.quantity import whole_units

SPEC = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
SIZE_LIMIT = SPEC["properties"]["cache"]["properties"]["sizeLimit"]
ALLOWED = st.from_regex(re.compile(SIZE_LIMIT["pattern"], re.ASCII), fullmatch=True).filter(
    lambda quantity: len(quantity) <= SIZE_LIMIT["maxLength"]
)
LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        (0, 0),
        (1024, 1024),
        ("7", 7),
        ("+7", 7),
        ("007", 7),
        ("3.", 3),
        (".5Ki", 512),
        ("1Ki", 2**10),
        ("10Mi", 10 * 2**20),
        ("10Gi", 10_737_418_240),
        ("1.5Gi", 1_610_612_736),
        ("2Ti", 2 * 2**40),
        ("3Pi", 3 * 2**50),
        ("7Ei", 7 * 2**60),
        ("1k", 1000),
        ("1M", 10**6),
        ("1G", 10**9),
        ("1T", 10**12),
        ("1P", 10**15),
        ("9E", 9 * 10**18),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1.25e+2", 125),
        ("12e-1", 2),
        ("5000m", 5),
        ("1500m", 2),
        ("1m", 1),
        ("2000001u", 3),
        ("1n", 1),
        ("9223372036854775807", LARGEST),
    ],
)
def test_an_amount_is_exact_and_parts_of_a_unit_count_as_one(
    quantity: int | str, amount: int
) -> None:
    assert whole_units(quantity) == amount


@pytest.mark.parametrize("quantity", ["8Ei", "10E", "9223372036854775808", "1e19", "1e999999999"])
def test_more_than_kubernetes_can_count_is_the_most_that_it_can(quantity: str) -> None:
    assert whole_units(quantity) == LARGEST


def test_an_exponent_that_is_out_of_all_bounds_costs_nothing() -> None:
    assert whole_units("1e-999999999999") == 1
    assert whole_units("0e999999999999") == 0


@pytest.mark.parametrize(
    "quantity", ["", "Gi", "1 Gi", "1gi", "1K", "1e", "0x10", "1_000", "ten", "٣"]
)
def test_a_text_that_is_no_quantity_has_no_amount(quantity: str) -> None:
    assert whole_units(quantity) is None


def test_an_amount_below_zero_is_left_to_the_api_server() -> None:
    assert whole_units(-5) == -5


@given(ALLOWED)
def test_whatever_the_resource_allows_has_an_amount(quantity: str) -> None:
    amount = whole_units(quantity)

    assert amount is not None
    assert 0 <= amount <= LARGEST


@given(st.integers(0, 10**6), st.sampled_from(["Ki", "Mi", "Gi"]), st.integers(0, 999))
def test_a_decimal_of_a_binary_unit_is_neither_too_small_nor_a_byte_too_large(
    whole: int, suffix: str, thousandths: int
) -> None:
    unit = 1024 ** (["Ki", "Mi", "Gi"].index(suffix) + 1)
    exact = (whole + Fraction(thousandths, 1000)) * unit

    amount = whole_units(f"{whole}.{thousandths:03}{suffix}")

    assert amount is not None
    assert 0 <= amount - exact < 1
