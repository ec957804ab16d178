"""What can go wrong between a client and Cloud Storage, and a script of what shall, and when.

The faults are values, in four groups: what comes instead of an answer (Status, BlackHole), what
happens to the answer's body on its way (Slow, Stall, Truncate, Reset, Corrupt), what a listing says
(WrongChecksum, Reordered, Hidden), and somebody else's doing (ReplaceObject).
"""

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from testcluster.gcs_requests import GcsRequest, Kind

Listing = dict[str, Any]
"""The JSON of an answer to a list request: `items` and `prefixes`, each absent when empty."""

_FORBIDDEN = (
    "sa@p.iam.gserviceaccount.com does not have storage.objects.list access to the Google Cloud "
    "Storage bucket."
)
_SAID: dict[int, tuple[str, str]] = {
    401: ("authError", "Invalid Credentials"),
    403: ("forbidden", _FORBIDDEN),
    404: ("notFound", "The specified bucket does not exist."),
    408: ("requestTimeout", "The request has timed out. Please try again."),
    412: ("conditionNotMet", "At least one of the pre-conditions you specified did not hold."),
    429: ("rateLimitExceeded", "The project exceeded the rate limit for requests."),
    500: ("internalError", "We encountered an internal error. Please try again."),
    502: ("backendError", "Bad Gateway"),
    503: ("backendError", "Backend Error"),
}


@dataclass(frozen=True)
class Status:
    """An error instead of an answer, with Cloud Storage's words for it or other ones."""

    code: int
    message: str | None = None

    def body(self) -> bytes:
        reason, usual = _SAID.get(self.code, ("error", "error"))
        message = self.message or usual
        errors = [{"domain": "global", "reason": reason, "message": message}]
        error = {"code": self.code, "message": message, "errors": errors}
        return json.dumps({"error": error}).encode()


@dataclass(frozen=True)
class BlackHole:
    """No answer until it is healed; then one as if nothing had been."""


@dataclass(frozen=True)
class Slow:
    """The body trickles, at so many bytes per second; healed, its rest comes at once."""

    bytes_per_second: float


@dataclass(frozen=True)
class Stall:
    """After so many bytes of the body nothing more comes until it is healed."""

    after: int


@dataclass(frozen=True)
class Truncate:
    """The connection is closed in an orderly way after so many bytes of a longer body."""

    after: int


@dataclass(frozen=True)
class Reset:
    """The connection is reset after so many bytes of a longer body; they have arrived then."""

    after: int


@dataclass(frozen=True)
class Corrupt:
    """The byte at this offset of the object is another one; meets a read that asks for it."""

    offset: int


@dataclass(frozen=True)
class WrongChecksum:
    """A listing has a wrong crc32c for this object."""

    name: str

    def rewritten(self, listing: Listing) -> Listing:
        items = [
            {**item, "crc32c": _other(item["crc32c"])} if item["name"] == self.name else item
            for item in listing.get("items", ())
        ]
        return {**listing, "items": items} if items else listing


@dataclass(frozen=True)
class Reordered:
    """A listing names its objects and prefixes in reverse order."""

    def rewritten(self, listing: Listing) -> Listing:
        return {
            key: value[::-1] if key in ("items", "prefixes") else value
            for key, value in listing.items()
        }


@dataclass(frozen=True)
class Hidden:
    """A listing lacks this object or, if the name ends in "/", all that is below it."""

    name: str

    def rewritten(self, listing: Listing) -> Listing:
        left = {
            "items": [item for item in listing.get("items", ()) if not self._is(item["name"])],
            "prefixes": [name for name in listing.get("prefixes", ()) if not self._is(name)],
        }
        others = {key: value for key, value in listing.items() if key not in left}
        return {**others, **{key: value for key, value in left.items() if value}}

    def _is(self, name: str) -> bool:
        return name == self.name or (self.name.endswith("/") and name.startswith(self.name))


@dataclass(frozen=True)
class ReplaceObject:
    """Somebody writes the object anew when its download begins, or after so many bytes of it."""

    content: bytes
    after: int | None = None


Fault = (
    Status
    | BlackHole
    | Slow
    | Stall
    | Truncate
    | Reset
    | Corrupt
    | WrongChecksum
    | Reordered
    | Hidden
    | ReplaceObject
)
ListingFault = WrongChecksum | Reordered | Hidden
# Of each of these groups one at most meets a request, the one that was injected first: so several
# of them come one after the other.
_ONE_OF = ((Status, BlackHole), (Truncate, Reset, Stall), (Slow,))


def _other(checksum: str) -> str:
    first, *others = base64.b64decode(checksum)
    return base64.b64encode(bytes([first ^ 0xFF, *others])).decode()


@dataclass(eq=False)
class Injection:
    """A fault in the script: which requests it meets, and whether it still does. Thread-safe."""

    fault: Fault
    _matches: Callable[[GcsRequest], bool]
    times: int | None
    healed: threading.Event = field(default_factory=threading.Event)
    met: int = 0
    """How many requests it has met."""

    def heal(self) -> None:
        """Meet no more requests, and let go of those that wait."""
        self.healed.set()

    def is_due(self, request: GcsRequest) -> bool:
        """Whether it meets this request, if this is its moment."""
        is_over = self.healed.is_set() or (self.times is not None and self.met >= self.times)
        return not is_over and _concerns(self.fault, request) and self._matches(request)


class Script:
    """The injected faults. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._injections: list[Injection] = []

    def add(self, injection: Injection) -> None:
        with self._lock:
            self._injections.append(injection)

    def heal(self) -> None:
        with self._lock:
            for injection in self._injections:
                injection.heal()
            self._injections.clear()

    def take(self, request: GcsRequest, fits: Callable[[Fault], bool]) -> list[Injection]:
        """What meets the request now, in the order of injection; that counts as once each.

        `fits` says of a fault whether this is the moment for it, and it would change anything.
        """
        with self._lock:
            due = [
                injection
                for injection in self._injections
                if fits(injection.fault) and injection.is_due(request)
            ]
            met = _chosen(due)
            for injection in met:
                injection.met += 1
        return met


def _concerns(fault: Fault, request: GcsRequest) -> bool:
    return request.kind == "read" or not isinstance(fault, Corrupt | ReplaceObject)


def _chosen(due: list[Injection]) -> list[Injection]:
    """Without those whose turn is after another one of their group. What comes instead of an answer
    leaves nothing for others to do.
    """
    chosen = list(due)
    for group in _ONE_OF:
        of_group = [injection for injection in chosen if isinstance(injection.fault, group)]
        chosen = [injection for injection in chosen if injection not in of_group[1:]]
    instead = [injection for injection in chosen if isinstance(injection.fault, Status | BlackHole)]
    return instead or chosen


def matcher(
    kind: Kind | None, under: str, when: Callable[[GcsRequest], bool]
) -> Callable[[GcsRequest], bool]:
    """Requests of the kind (None: all), whose name begins with `under`, and that `when` is for."""
    return lambda request: (
        kind in (None, request.kind) and request.name.startswith(under) and when(request)
    )


def comes_before(fault: Fault) -> bool:
    """Whether the fault's moment is before the emulator hears of the request."""
    return isinstance(fault, Status | BlackHole) or (
        isinstance(fault, ReplaceObject) and fault.after is None
    )


def changes(listing: Listing) -> Callable[[Fault], bool]:
    """Whether a fault would change that listing."""
    return lambda fault: isinstance(fault, ListingFault) and fault.rewritten(listing) != listing


def touches(first: int, length: int) -> Callable[[Fault], bool]:
    """Whether a fault would do anything to a body of that length, from that byte of the object."""

    def fits(fault: Fault) -> bool:
        match fault:
            case Slow():
                return length > 0
            case Stall(after) | Truncate(after) | Reset(after):
                return after < length
            case ReplaceObject(_, after):
                return after is not None and after <= length
            case Corrupt(offset):
                return first <= offset < first + length
            case _:
                return False

    return fits
