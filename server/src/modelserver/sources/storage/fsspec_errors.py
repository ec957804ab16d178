"""What errors of fsspec's implementations mean, in our words. Pure.

Each brings its service's own exceptions along. They are told by what they carry (an HTTP status, a
code, the name of their class), so that none of their libraries is needed here.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from modelserver.errors import (
    FailedPreconditionError,
    NotFoundError,
    PermissionDeniedError,
    ServingError,
    UnauthenticatedError,
    UnavailableError,
)

S3 = ("s3", "s3a")
"""The schemes of S3, which is known better than the others."""

_HOW_TO_AUTHENTICATE_S3 = (
    "Give credentials as for the AWS command line: a role that the pod's service account, or the "
    "machine, stands for; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or a file named by "
    "AWS_SHARED_CREDENTIALS_FILE. For a public bucket set FSSPEC_S3_ANON=true"
)

_NO_CREDENTIALS = {
    # botocore's…
    "CredentialRetrievalError",
    "InvalidConfigError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "SSOError",
    "TokenRetrievalError",
    # …and Azure's
    "ClientAuthenticationError",
}
"""Classes of errors, also as bases, that say: nobody knows who asks."""

_CREDENTIALS_REFUSED = {
    "AuthFailure",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
"""What S3 and STS say with status 400 or 403, and means the credentials, not their rights."""

_MAY_PASS = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException"}

_GONE = {
    404: "not found",
    412: "was replaced since it was listed",
    416: "is shorter than it was listed",
}

_WRONG = (ValueError, TypeError, NotImplementedError)
"""What implementations raise for a path or for options that they cannot take."""


_MAX_TEXT = 500


class _Answer(NamedTuple):
    """A service's answer that is an error. `code` is its word for it, empty where there is none."""

    status: int
    code: str
    text: str


def error_of(error: Exception, uri: str, scheme: str) -> ServingError:
    """What it means that a call for `uri` raised `error`."""
    answer = _answer_in(error)
    if isinstance(error, NotADirectoryError):
        return FailedPreconditionError(f"{uri}; Not a directory")
    if _is_unauthenticated(error, answer):
        return UnauthenticatedError(
            f"{uri}: there are no credentials that are accepted ({_root_cause(error)}). "
            f"{_how_to_authenticate(scheme)}"
        )
    if isinstance(error, PermissionError) or (answer is not None and answer.status == 403):
        return PermissionDeniedError(
            f"{uri}; Permission denied ({_root_cause(error)}). {_how_to_permit(scheme)}"
        )
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{uri} not found{_missing_bucket(answer)}")
    return _error_without_answer(error, uri) if answer is None else _error_of_answer(answer, uri)


def outcome_of(error: Exception, meaning: ServingError) -> str:
    """What to count a call as that raised `error`, which means `meaning`."""
    answer = _answer_in(error)
    if answer is not None:
        return str(answer.status)
    if isinstance(meaning, NotFoundError):
        return "not found"
    return "refused" if isinstance(meaning, FailedPreconditionError) else "no answer"


def _error_of_answer(answer: _Answer, uri: str) -> ServingError:
    said = f" ({answer.text})" if answer.text else ""
    if answer.status in _GONE:
        return NotFoundError(f"{uri} {_GONE[answer.status]}{said}")
    if answer.status in (408, 429) or answer.status >= 500 or answer.code in _MAY_PASS:
        return UnavailableError(f"{uri}: the service answered {answer.status}{said}")
    return FailedPreconditionError(f"{uri}: the service refused with {answer.status}{said}")


def _error_without_answer(error: Exception, uri: str) -> ServingError:
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, _WRONG) or "ParamValidationError" in names:
        return FailedPreconditionError(f"{uri} cannot be read: {_root_cause(error)}")
    return UnavailableError(f"{uri}: no answer ({_root_cause(error)})")


def _is_unauthenticated(error: Exception, answer: _Answer | None) -> bool:
    if answer is not None:
        return answer.status == 401 or answer.code in _CREDENTIALS_REFUSED
    return any(
        kind.__name__ in _NO_CREDENTIALS for found in _chain(error) for kind in type(found).__mro__
    )


def _missing_bucket(answer: _Answer | None) -> str:
    """A bucket that is missing is worth a word: it is another mistake than a missing folder."""
    return f" ({answer.text})" if answer is not None and answer.code == "NoSuchBucket" else ""


def _how_to_authenticate(scheme: str) -> str:
    if scheme in S3:
        return _HOW_TO_AUTHENTICATE_S3
    return (
        f"Give credentials in a way that fsspec's implementation for {scheme}:// knows, or its "
        f"options as FSSPEC_{scheme.upper()}_OPTION"
    )


def _how_to_permit(scheme: str) -> str:
    if scheme in S3:
        return "Grant s3:ListBucket on the bucket and s3:GetObject on its objects"
    return "Grant the right to list and to read it"


def _answer_in(error: BaseException) -> _Answer | None:
    """The answer that `error` tells of, if there was one."""
    for found in _chain(error):
        response = getattr(found, "response", None)
        if isinstance(response, Mapping) and "Error" in response:  # botocore's ClientError
            return _boto_answer(response)
        for holder in (found, response):
            status = getattr(holder, "status_code", getattr(holder, "status", None))
            if isinstance(status, int):
                return _Answer(status, "", _in_a_line(found))
    return None


def _boto_answer(response: Mapping[str, Mapping[str, object]]) -> _Answer:
    said = response["Error"]
    code = str(said.get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", code)
    return _Answer(
        int(str(status)) if str(status).isdigit() else 400,
        code,
        _in_a_line(said.get("Message", "")),
    )


def _root_cause(error: BaseException) -> str:
    """The innermost reason: what wraps it repeats the address and says less."""
    *_, inner = _chain(error)
    said = _in_a_line(inner)
    return f"{type(inner).__name__}: {said}" if said else type(inner).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _in_a_line(said: object) -> str:
    return " ".join(str(said).split())[:_MAX_TEXT]
