"""What can go wrong in the operator, in its own words, sorted by what the caller should do.

The Kubernetes client's and HTTP's errors are translated into these once, at the edge where they
arise.
"""


class OperatorError(Exception):
    """The root of every error that the operator raises on purpose."""


class InvalidSpecError(OperatorError):
    """A resource cannot be understood. Trying again changes nothing until somebody edits it."""


class ReportError(OperatorError):
    """A pod answered with something that is not a report."""


class ClusterError(OperatorError):
    """The API server refused a call, or could not be asked."""


class NotFoundError(ClusterError):
    """The object, or its kind, does not exist."""


class ConflictError(ClusterError):
    """Somebody else owns the fields, the object exists already, or it is not the one that was
    meant (uid or resourceVersion differ).
    """


class ForbiddenError(ClusterError):
    """The operator's ServiceAccount has not been granted this."""


class InvalidError(ClusterError):
    """The API server found the object invalid: its message says where."""


class UnavailableError(ClusterError):
    """The API server did not answer, or asked to come back later: trying again may help.

    `retry_after_seconds` is how long it asked to wait, None when it did not say.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
