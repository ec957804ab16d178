"""What errors of Google Cloud Storage mean, in our words. Pure."""

from dataclasses import dataclass

from modelserver.errors import (
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
    ServingError,
    UnauthenticatedError,
    UnavailableError,
)

HOW_TO_AUTHENTICATE = (
    "Give credentials in one of three ways: a Google service account that the pod's service "
    "account stands for (workload identity; elsewhere `gcloud auth application-default login`), a "
    "key file named by GOOGLE_APPLICATION_CREDENTIALS (credentialsSecretRef), or, for a public "
    "bucket, --gcs_anonymous (MODELSERVER_GCS_ANONYMOUS=true)"
)

_GONE = {
    404: "not found",
    304: "was replaced since it was listed",
    412: "was replaced since it was listed",
    416: "is shorter than it was listed",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for `uri`: to `list` or `read` it, for its `metadata`, or to `write` it. By whom,
    as far as that is known.
    """

    uri: str
    operation: str = "read"
    principal: str = "the server's account"


def error_of_status(status: int, text: str, asked: Asked) -> ServingError:
    """What the answer `status` to a request means; `text` is what the service said."""
    uri, principal = asked.uri, asked.principal
    bucket = bucket_of(uri)
    said = f" ({text})" if text else ""
    if status == 401:
        return UnauthenticatedError(
            f"{uri}: the credentials of {principal} are not accepted{said}. {HOW_TO_AUTHENTICATE}"
        )
    if status == 403:
        verb, role = ("write to", "User") if asked.operation == "write" else ("read", "Viewer")
        return PermissionDeniedError(
            f"{uri}: {principal} may not {verb} bucket {bucket}{said}. Grant it "
            f"roles/storage.object{role} on the bucket"
        )
    if status in _GONE:
        return NotFoundError(f"{uri} {_GONE[status]}{said}")
    if status in (408, 429) or status >= 500:
        return UnavailableError(f"{uri}: the service answered {status}{said}")
    return FailedPreconditionError(f"{uri}: the service refused with {status}{said}")


def bucket_of(uri: str) -> str:
    """The `gs://BUCKET` that `uri` is in."""
    return "/".join(uri.split("/")[:3])


def error_without_answer(error: Exception, uri: str) -> UnavailableError:
    """What it means that a request got no answer, or not all of it."""
    return UnavailableError(f"{uri}: no answer ({_root_cause(error)})")


def _root_cause(error: BaseException) -> str:
    """The innermost reason: what wraps it repeats the address and says less."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
