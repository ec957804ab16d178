"""The errors of the whole package, in the words that TensorFlow Serving's users know.

They are named after what went wrong for the caller. Nothing here knows a gRPC code or an HTTP
status: each edge translates by one table of its own (`modelserver.rpc.status`).
"""


class ServingError(Exception):
    """Base of all errors that reach a client or a version's state. Not raised itself.

    `str(error)` is the message a client sees, so it says what was wrong, where, and what to do.
    """

    @property
    def message(self) -> str:
        """The text without the class name."""
        return str(self)


class InvalidArgumentError(ServingError):
    """The request itself is wrong; sending it again cannot help."""


class NotFoundError(ServingError):
    """No such model, version or file."""


class FailedPreconditionError(ServingError):
    """The request is well formed but the system is not in a state that allows it."""


class PermissionDeniedError(FailedPreconditionError):
    """Who asks is known and may not."""


class UnauthenticatedError(FailedPreconditionError):
    """Who asks is not known: there are no credentials, or none that are accepted."""


class ResourceExhaustedError(ServingError):
    """A limit (size, memory, quota) was reached."""


class UnavailableError(ServingError):
    """Not possible at the moment; the same request may succeed later."""


class DeadlineExceededError(ServingError):
    """The caller's deadline passed before an answer was ready."""


class CancelledError(ServingError):
    """The caller, or a newer decision, withdrew the work. Not asyncio's class of that name."""


class UnimplementedError(ServingError):
    """Asked for something that this server does not do."""


class DataLossError(ServingError):
    """Stored data is truncated or corrupt."""


class InternalError(ServingError):
    """An invariant of this package, or a plug-in, broke. Worth a bug report."""


def as_serving_error(error: BaseException) -> ServingError:
    """Translate any exception that a plug-in raised into a `ServingError` with a message fit for a
    status line.

    A `ServingError` is returned unchanged. Missing files become `NotFoundError`, other
    operating-system errors `UnavailableError` (they may pass), memory exhaustion
    `ResourceExhaustedError`, everything else `InternalError`.
    """
    if isinstance(error, ServingError):
        return error
    message = _describe(error)
    if isinstance(error, FileNotFoundError):
        return NotFoundError(message)
    if isinstance(error, MemoryError):
        return ResourceExhaustedError(message)
    if isinstance(error, OSError):
        return UnavailableError(message)
    return InternalError(message)


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # a plug-in's error that cannot even say what it is
        return name
    return f"{name}: {text}" if text else name
