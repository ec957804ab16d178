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
                "allowed_batch_sizes": (8, 24),
                "enable_large_batch_splitting": True,
                "max_execution_batch_size": 16,
            },
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 24; "
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


@pytest.mark.parametrize(
    ("allowed", "max_execution", "rounded_to"),
    [
        pytest.param((1, 8, 32), None, (1, 8, 32), id="no splitting"),
        pytest.param((), 10, (), id="any size"),
        pytest.param((4, 16, 32), 16, (4, 16), id="a size among them"),
        pytest.param((4, 16, 32), 10, (4, 10), id="a size between them"),
        pytest.param((16, 32), 10, (10,), id="a size below them"),
        pytest.param((4, 10), 10, (4, 10), id="a size at their end"),
    ],
)
def test_batches_are_rounded_up_to_no_more_rows_than_they_may_have(
    allowed: tuple[int, ...], max_execution: int | None, rounded_to: tuple[int, ...]
) -> None:
    options = BatchingOptions(
        max_batch_size=32,
        allowed_batch_sizes=allowed,
        enable_large_batch_splitting=max_execution is not None,
        max_execution_batch_size=max_execution,
    )

    assert options.execution_batch_sizes == rounded_to


def test_requests_that_cannot_be_merged_wait_for_nobody_and_in_the_same_number() -> None:
    options = BatchingOptions(max_batch_size=32, batch_timeout_micros=5000, max_enqueued_batches=3)

    single = options.for_single_requests()

    assert single.max_batch_size == 1
    assert single.batch_timeout_micros == 0
    assert single.max_enqueued_batches == 96
