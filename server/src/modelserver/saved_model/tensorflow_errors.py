"""Translates TensorFlow's errors into the words of `modelserver.errors`."""

import re

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
_NODE_REFERENCE = "[[{{node"
_PLACE = re.compile(r"^\{\{.*?\}\} | \[Op:.*\].*$")


def translate(error: Exception) -> ServingError:
    """Return the `ServingError` for what loading or running a model raised. Its message is the one
    line that says what went wrong, without the graph's node names.
    """
    if not isinstance(error, tf.errors.OpError):
        return as_serving_error(error)
    return _BY_CODE.get(error.error_code, InternalError)(_telling_line(error.message))


def _telling_line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return "TensorFlow gave no message"
    telling = lines[0]
    if telling == _EAGER_PREAMBLE:
        ends = [n for n, line in enumerate(lines) if line.startswith(_NODE_REFERENCE)]
        telling = lines[ends[0] - 1] if ends else lines[-1]
    return _PLACE.sub("", telling)
