"""Translates TensorFlow's errors into the words of `modelserver.errors`."""

import re
from collections.abc import Iterator

import tensorflow as tf

from modelserver.errors import (
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    ServingError,
    UnavailableError,
    UnimplementedError,
    as_serving_error,
)

_BY_CODE: dict[int, type[ServingError]] = {
    tf.errors.CANCELLED: CancelledError,
    tf.errors.INVALID_ARGUMENT: InvalidArgumentError,
    tf.errors.OUT_OF_RANGE: InvalidArgumentError,
    tf.errors.DEADLINE_EXCEEDED: DeadlineExceededError,
    tf.errors.NOT_FOUND: NotFoundError,
    tf.errors.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    tf.errors.FAILED_PRECONDITION: FailedPreconditionError,
    tf.errors.UNIMPLEMENTED: UnimplementedError,
    tf.errors.UNAVAILABLE: UnavailableError,
    tf.errors.DATA_LOSS: DataLossError,
}
_EAGER_PREAMBLE = "Graph execution error:"
_NODE_REFERENCE = "[[{{"
_PLACE = re.compile(r"^\{\{.*?\}\} | \[Op:.*\].*$")


def translate(error: Exception) -> ServingError:
    """Return the `ServingError` for what loading or running a model raised. Its message is the one
    line that says what went wrong, without the graph's node names.
    """
    if isinstance(error, ServingError):
        return error
    for each in _with_contexts(error):
        if isinstance(each, tf.errors.OpError) and each.error_code in _BY_CODE:
            return _BY_CODE[each.error_code](_telling_line(each.message))
    if isinstance(error, tf.errors.OpError):
        return InternalError(_telling_line(error.message))
    return as_serving_error(error)


def _with_contexts(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and those it was raised in the handling of: restoring variables hides the
    missing file behind errors of its further tries.
    """
    while error is not None:
        yield error
        error = error.__context__


def _telling_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return "TensorFlow gave no message"
    telling = lines[0]
    if telling == _EAGER_PREAMBLE:
        ends = [n for n, line in enumerate(lines) if line.startswith(_NODE_REFERENCE)]
        telling = lines[ends[0] - 1] if ends else lines[-1]
    return _PLACE.sub("", telling)
