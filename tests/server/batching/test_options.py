"""BatchOptions: defaults of the tutorial, refusals in TensorFlow's words."""

import re
from dataclasses import replace
from typing import Any

import pytest

from modelserver.batching import BatchOptions
from modelserver.errors import InvalidArgumentError


def test_the_defaults_are_those_of_the_tutorial() -> None:
    options = BatchOptions()

    assert options.max_batch_size == 32
    assert options.batch_timeout_seconds == pytest.approx(0.010)
    assert options.max_enqueued_batches == 10
    assert not options.enable_large_batch_splitting


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            {"max_batch_size": 0}, "input_batch_size_limit must be positive; was 0", id="size"
        ),
        pytest.param(
            {"batch_timeout_micros": -1},
            "batch_timeout_micros must be non-negative; was -1",
            id="timeout",
        ),
        pytest.param(
            {"max_enqueued_batches": 0},
            "max_enqueued_batches must be positive; was 0",
            id="enqueued",
        ),
        pytest.param(
            {"enable_large_batch_splitting": True, "max_execution_batch_size": 33},
            "When enable_large_batch_splitting is true, input_batch_size_limit must be "
            "greater than or equal to max_execution_batch_size.",
            id="execution larger than task",
        ),
        pytest.param(
            {"enable_large_batch_splitting": True, "max_execution_batch_size": 0},
            "max_execution_batch_size must be positive; was 0",
            id="no execution",
        ),
    ],
)
def test_limits_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{re.escape(message)}"):
        BatchOptions(**fields)


def test_the_execution_size_is_the_batch_size_unless_set() -> None:
    options = BatchOptions(max_batch_size=100, enable_large_batch_splitting=True)

    assert options.execution_batch_size == 100


def test_the_execution_size_counts_with_splitting_only() -> None:
    whole = BatchOptions(max_batch_size=100, max_execution_batch_size=8)

    split = replace(whole, enable_large_batch_splitting=True)

    assert split.execution_batch_size == 8
    assert whole.execution_batch_size == 100
