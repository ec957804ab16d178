"""Errors as gRPC's clients see them: the one table from our words to status codes."""

from modelserver import errors
from modelserver.rpc.transport.base import Answer, StatusCode

MESSAGE_LIMIT_BYTES = 1024

_CODES: dict[type[errors.ServingError], StatusCode] = {
    errors.InvalidArgumentError: StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: StatusCode.NOT_FOUND,
    errors.FailedPreconditionError: StatusCode.FAILED_PRECONDITION,
    errors.ResourceExhaustedError: StatusCode.RESOURCE_EXHAUSTED,
    errors.UnavailableError: StatusCode.UNAVAILABLE,
    errors.DeadlineExceededError: StatusCode.DEADLINE_EXCEEDED,
    errors.CancelledError: StatusCode.CANCELLED,
    errors.UnimplementedError: StatusCode.UNIMPLEMENTED,
    errors.DataLossError: StatusCode.DATA_LOSS,
    errors.InternalError: StatusCode.INTERNAL,
}


def status_code(error: errors.ServingError | None) -> StatusCode:
    """The code of an error, OK for None. A class of a plug-in's own has its base's code."""
    if error is None:
        return StatusCode.OK
    for ancestor in type(error).__mro__:
        if ancestor in _CODES:
            return _CODES[ancestor]
    return StatusCode.UNKNOWN


def error_answer(error: BaseException) -> Answer:
    """The answer that an exception stands for: its code, and its message cut to what fits."""
    serving_error = errors.as_serving_error(error)
    return status_code(serving_error), _cut(valid_text(serving_error.message))


def valid_text(message: str) -> str:
    r"""`message` as every protocol can carry it: a byte that is not UTF-8, which Python keeps in
    the name of a file as half a surrogate pair, is written out, as `\udcff`.
    """
    return message.encode(errors="backslashreplace").decode()


def _cut(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= MESSAGE_LIMIT_BYTES:
        return message
    # A character that the limit splits goes too: status messages are UTF-8.
    return encoded[:MESSAGE_LIMIT_BYTES].decode(errors="ignore") + "...TRUNCATED"
