"""Transport: the seam between the network and Python. Lists of calls come in, lists of answers go
out.

Bytes only: no protobuf, no batching and no policy below this line. Ids carry a generation, so a
late or double reply is dropped and counted, never misdelivered. `native` implements it in Rust,
`grpc_aio` on grpcio; one contract suite holds every implementation to this text
(`tests/contract/test_transport*.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from modelserver.histogram import HistogramSnapshot
from modelserver.rpc.transport.options import TlsCredentials

if TYPE_CHECKING:
    import numpy as np


class StatusCode(IntEnum):
    """gRPC's status codes, numbers as on the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


Answer: TypeAlias = bytes | tuple[StatusCode, str]
"""A reply body, or the status code and message that take its place."""


ContiguousBuffer: TypeAlias = "np.ndarray | bytearray | memoryview"
"""Memory in one piece, of any element type: to this seam it is bytes."""


class Calls(NamedTuple):
    """Every call that has arrived since the last `next_calls`, as parallel lists, oldest first."""

    ids: list[int]
    methods: list[int]
    """Index into the `methods` that the transport was built with."""
    bodies: list[bytes]
    deadlines: list[float | None] | None
    """Monotonic seconds, None for a call without one; None altogether when no call has one."""
    cancelled: list[int]
    """Calls handed out earlier that since then want no answer: cancelled by the client or past
    their deadline (those have been answered)."""


@dataclass(frozen=True, slots=True)
class TransportStats:
    """Counters since start. `in_flight` is the number of calls accepted and not yet answered."""

    accepted: int = 0
    replied: int = 0
    failed: int = 0
    cancelled: int = 0
    """Calls that the client cancelled, or whose deadline passed, before they were answered."""
    dropped_replies: int = 0
    """Late or double replies."""
    in_flight: int = 0
    oldest_waiting_seconds: float = 0.0
    """For how long `next_calls` has not been asked though calls wait."""
    codes: Mapping[tuple[int, StatusCode], int] = field(default_factory=dict)
    """How many calls of each method, by index, were answered with each code, or ended with it."""
    seconds: Mapping[int, HistogramSnapshot] = field(default_factory=dict)
    """How long the calls of each method took, from their arrival to their answer."""


class Transport(Protocol):
    """A unary gRPC server. Built with an address (`0.0.0.0:8500`, port 0 = any) and full method
    names (`/pkg.Service/Method`).

    Thread-safe; `next_calls` is meant for one thread. It answers by itself what needs no model:
    unknown method (UNIMPLEMENTED), message too large (RESOURCE_EXHAUSTED), a deadline that passes
    (DEADLINE_EXCEEDED, at the deadline, though the run goes on), health (`grpc.health.v1`) and
    reflection.
    """

    @property
    def drains(self) -> bool:
        """Whether `stop` lets every call end that a client has sent, also those that have not been
        handed out yet.
        """

    def start(self) -> int:
        """Bind and accept. Returns the port. Raises `UnavailableError` that names the address when
        it cannot be bound.
        """

    def stop(self, grace: float) -> bool:
        """Stop accepting, wait up to `grace` seconds for accepted calls to be answered, then close.

        `next_calls` keeps handing out accepted calls meanwhile and returns None at the end. True if
        every call was answered in time; the rest get UNAVAILABLE. Further calls do nothing and
        return True.
        """

    def next_calls(self, timeout: float | None) -> Calls | None:
        """ALL calls that have arrived, waiting for the first (or a cancellation) up to `timeout`
        seconds (0 polls, None waits for ever).

        Empty lists after a time-out. None once the transport has stopped and nothing more will
        come.
        """

    def reply_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
        """Answer several calls at once, each with its own body or error."""

    def reply_split(
        self, ids: Sequence[int], rows: ContiguousBuffer, prefix: bytes, suffix: bytes
    ) -> None:
        """Answer calls with equal pieces of `rows`, in order, each between `prefix` and `suffix`.

        `rows` is C-contiguous and its size in bytes a multiple of the number of ids; it may change
        once this has returned. Raises ValueError otherwise, and then nothing has been answered.
        """

    def cork(self) -> None:
        """Answers from now on, whoever gives them, may wait for each other until `uncork`, so that
        they leave in one piece. For whoever is going to give several soon; a transport may take no
        notice.
        """

    def uncork(self) -> None:
        """Send the answers that wait. Does no harm where there was no `cork`."""

    def gather(
        self, out: ContiguousBuffer, bodies: Sequence[bytes], offset: int, length: int
    ) -> None:
        """Copy `length` bytes of each body, from `offset` on, one after another into `out`, which
        they fill exactly. Raises ValueError where they do not, or a body is too short.
        """

    def fail_many(self, ids: Sequence[int], code: StatusCode, message: str) -> None:
        """Answer several calls with one error."""

    def alive(self, ids: Sequence[int]) -> list[bool]:
        """Which calls still want an answer: not cancelled, past their deadline or answered."""

    def set_serving(self, service: str, serving: bool | None) -> None:
        """Set what health Check and Watch say of `service` ("" = the server): SERVING, NOT_SERVING,
        or None = SERVICE_UNKNOWN.
        """

    def set_tls(self, credentials: TlsCredentials) -> None:
        """Use these certificates from the next connection on. For a transport that was made with
        some. Raises `InvalidArgumentError` that says what is wrong with them, and goes on with
        those that it has.
        """

    def ping(self, answer: Callable[[], None]) -> None:
        """Have `answer` called from where calls are moved, and return at once: a transport that is
        well calls it at once, one that is wedged never.
        """

    def fileno(self) -> int:
        """An eventfd, readable when calls wait, for an event loop. Read it *before* emptying the
        queue, or a wake-up is lost.
        """

    def stats(self) -> TransportStats:
        """Counters since start."""
