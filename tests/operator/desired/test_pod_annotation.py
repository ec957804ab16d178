"""When to make a kubelet refresh a pod's config."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelserver_operator.desired.pod_annotation import Attempt, next_attempt, parse_attempt

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def made(number: int, seconds_ago: float, config_hash: str = "new") -> str:
    return Attempt(config_hash, number, NOW - timedelta(seconds=seconds_ago)).value()


@pytest.mark.parametrize(
    "annotation",
    ["", "new", "anything", made(3, 0, "old"), "new attempt=1 at=noon", "new attempt=x at=y"],
)
def test_a_pod_is_told_of_a_document_that_it_was_not_told_of(annotation: str) -> None:
    assert next_attempt(annotation, "new", NOW) == Attempt("new", 1, NOW)


@pytest.mark.parametrize(
    ("number", "seconds_ago", "again"),
    [
        (1, 0, False),
        (1, 2, False),
        (1, 4, True),
        (2, 5, False),
        (2, 7, True),
        (5, 47, False),
        (5, 49, True),
        (50, 299, False),
        (50, 301, True),
        (1, -60, True),
    ],
)
def test_it_is_told_again_after_ever_longer_pauses(
    number: int, seconds_ago: float, again: bool
) -> None:
    attempt = next_attempt(made(number, seconds_ago), "new", NOW)

    assert attempt == (Attempt("new", number + 1, NOW) if again else None)


MOMENTS = st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC))


@settings(deadline=None)
@given(st.integers(0, 999_999_999), MOMENTS)
def test_the_annotation_is_read_as_it_was_written(number: int, at: datetime) -> None:
    attempt = Attempt("0123456789abcdef", number, at.replace(microsecond=0))

    assert parse_attempt(attempt.value()) == attempt


def test_times_are_written_in_utc() -> None:
    at = datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1)))

    assert Attempt("h", 1, at).value() == "h attempt=1 at=2026-01-31T12:00:00Z"
