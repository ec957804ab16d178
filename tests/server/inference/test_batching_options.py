"""BatchingOptions: TensorFlow Serving's defaults and refusals."""

import re
from typing import Any

import pytest

from modelserver.errors import InvalidArgumentError
from modelserver.inference import BatchingOptions


def test_the_defaults_are_tensorflow_servings() -> None:
    options = BatchingOptions()

    assert options.max_batch_size == 1000
    assert options.batch_timeout_micros == 0
    assert options.max_enqueued_batches == 10
    assert options.num_batch_threads is None
    assert options.thread_pool_name == "batch_threads"
    assert options.allowed_batch_sizes == ()
    assert not options.pad_variable_length_inputs
    assert not options.enable_large_batch_splitting
    assert options.for_rows().execution_batch_size == 1000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param(
            {"max_batch_size": 32, "allowed_batch_sizes": (8, 16)},
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 16; "
            "expected 32",
            id="last",
        ),
        pytest.param(
            {
                "max_batch_size": 32,
                "allowed_batch_sizes": (8, 16),
                "enable_large_batch_splitting": True,
                "max_execution_batch_size": 16,
            },
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 16; "
            "expected 32",
            id="last, with splitting",
        ),
        pytest.param(
            {"max_batch_size": 32, "allowed_batch_sizes": (16, 16, 32)},
            "allowed_batch_sizes entries must be monotonically increasing",
            id="order",
        ),
        pytest.param(
            {"num_batch_threads": 0}, "num_batch_threads must be positive; was 0", id="threads"
        ),
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
    ],
)
def test_options_that_make_no_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{re.escape(message)}"):
        BatchingOptions(**fields)


def test_allowed_sizes_that_end_with_the_batch_size_are_accepted() -> None:
    options = BatchingOptions(max_batch_size=32, allowed_batch_sizes=(1, 8, 32))

    assert options.allowed_batch_sizes == (1, 8, 32)


def test_requests_that_cannot_be_merged_wait_for_nobody_and_in_the_same_number() -> None:
    options = BatchingOptions(max_batch_size=32, batch_timeout_micros=5000, max_enqueued_batches=3)

    single = options.for_single_requests()

    assert single.max_batch_size == 1
    assert single.batch_timeout_micros == 0
    assert single.max_enqueued_batches == 96
