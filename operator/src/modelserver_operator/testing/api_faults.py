"""What can go wrong between an operator and its API server: the script of a `FakeApiServer`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP error instead of what was asked for."""

    status: int
    retry_after_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, ever: the client has to give up."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """The connection is closed without an answer; a watch breaks off in the middle."""


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """A watch's event of type ERROR, after which the watch ends: 410 when its resource version is
    too old, 500 or 504 when the API server has trouble of its own.
    """

    code: int


@dataclass(frozen=True, slots=True)
class HalfLine:
    """The first half of an event's JSON; then the watch ends as if it were well."""


@dataclass(frozen=True, slots=True)
class End:
    """The watch ends, as it does every few minutes."""


@dataclass(frozen=True, slots=True)
class Swallow:
    """From now on the watch stays open and delivers no change; bookmarks only."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """An event without an object, that tells the newest resource version."""


StreamFault = HangUp | ErrorEvent | HalfLine | End | Swallow | Bookmark
"""What may happen to a watch that is open."""

Fault = Answer | Hang | StreamFault
"""What may happen to a request."""
