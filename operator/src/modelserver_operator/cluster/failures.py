"""What the API server's error answers are in the operator's words, in one table."""

import json
from collections.abc import Mapping

from modelserver_operator.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from modelserver_operator.json_types import JsonObject

_WORDS: Mapping[int, type[ClusterError]] = {
    400: InvalidError,
    403: ForbiddenError,
    404: NotFoundError,
    405: NotFoundError,
    409: ConflictError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
}

_LONGEST_WAIT_SECONDS = 60.0


def failure(
    method: str, path: str, status: int, headers: Mapping[str, str], body: bytes
) -> ClusterError:
    """The error for an answer with an HTTP status of 400 or more.

    What is not in the table may pass by itself: an expired token, an expired list, an overloaded or
    restarting server.
    """
    answer = _status_object(body)
    message = f"{method} {path.partition('?')[0]}: {answer.get('message') or f'HTTP {status}'}"
    if _names_another_uid(answer):
        return ConflictError(message)
    known = _WORDS.get(status)
    if known is not None:
        return known(message)
    return UnavailableError(message, retry_after_seconds=_retry_after(headers))


def _status_object(body: bytes) -> JsonObject:
    """The `Status` that the server sent, or one made of whatever a proxy before it sent."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    return {"message": body.decode("utf-8", "replace")[:200].strip()}


def _names_another_uid(answer: JsonObject) -> bool:
    """Whether an object was meant that has been replaced by another: the server calls it invalid
    to change a uid, but nothing is wrong with what was sent, only with when.
    """
    causes = (answer.get("details") or {}).get("causes") or ()
    return any(cause.get("field") == "metadata.uid" for cause in causes)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        seconds = float(headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    # Anything longer is no overload, and "inf" or "nan" would be for ever.
    return min(seconds, _LONGEST_WAIT_SECONDS) if seconds >= 0 else None
