"""A unary gRPC server over HTTP/2 that hands Python whole lists of calls.

The network side runs on threads of its own, without Python. Everything here is thread-safe;
`next_calls` and `next_messages` are meant for one thread each. After a fork, in the child, every
method of a transport that the parent made raises RuntimeError, except `stop`, which returns True.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict, final

from typing_extensions import Buffer

__version__: str

def gather(out: Buffer, bodies: Sequence[bytes], offset: int, length: int) -> None:
    """Copy `body[offset:offset + length]` of each body, one after another, into `out`.

    `out` is writable and C-contiguous, of any element type, and filled exactly. Raises ValueError
    where it is not, or a body is too short; what `out` holds then is not defined.
    """

@final
class Options:
    """What a transport may be told, beyond where it listens and what it serves. Immutable.

    Raises ValueError for a value that makes no sense, naming it.
    """

    def __new__(
        cls,
        *,
        max_message_bytes: int | None = None,
        max_queued_calls: int = 65536,
        max_buffered_bytes: int = 1 << 30,
        max_concurrent_streams: int = 1024,
        max_connections: int = 100_000,
        max_header_bytes: int = 16384,
        keepalive_seconds: float | None = None,
        keepalive_timeout_seconds: float = 20.0,
        max_connection_age_seconds: float | None = None,
        max_connection_age_grace_seconds: float | None = None,
        max_connection_idle_seconds: float | None = None,
        io_threads: int = 1,
        reuse_port: bool = False,
        seconds_bounds: Sequence[float] = (),
        constant_answers: Mapping[str, bytes] = ...,
    ) -> Options: ...
    @property
    def max_message_bytes(self) -> int | None:
        """Limit of one request, once decompressed, and of one reply. RESOURCE_EXHAUSTED beyond."""

    @property
    def max_queued_calls(self) -> int:
        """Limit of calls accepted and not answered. RESOURCE_EXHAUSTED beyond. At most 2**20."""

    @property
    def max_buffered_bytes(self) -> int:
        """Limit of the bodies of requests that Python has not taken and of replies that clients
        have not read, together. RESOURCE_EXHAUSTED beyond. A connection on which more than a small
        part of it waits to be read gets no new calls until its client reads.
        """

    @property
    def max_concurrent_streams(self) -> int:
        """Calls that a client may have open on one connection."""

    @property
    def max_connections(self) -> int:
        """Open connections. Further ones are closed as soon as they are accepted."""

    @property
    def max_header_bytes(self) -> int:
        """Limit of the headers of one call, decompressed."""

    @property
    def keepalive_seconds(self) -> float | None:
        """A connection on which nothing was received for so long is sent a PING."""

    @property
    def keepalive_timeout_seconds(self) -> float:
        """A connection that has not answered such a PING for so long is closed."""

    @property
    def max_connection_age_seconds(self) -> float | None:
        """A connection is told to go away at this age, give or take a tenth at random."""

    @property
    def max_connection_age_grace_seconds(self) -> float | None:
        """How long the calls of such a connection may still take. None = for ever."""

    @property
    def max_connection_idle_seconds(self) -> float | None:
        """A connection without calls for so long is told to go away."""

    @property
    def io_threads(self) -> int:
        """Threads that move bytes. One is the fastest up to about two cores."""

    @property
    def reuse_port(self) -> bool:
        """Whether other transports, of this process or of others of the same user, may listen on
        the same TCP port, if all of them say so (SO_REUSEPORT). The kernel gives each new
        connection to one of them.
        """

    @property
    def seconds_bounds(self) -> Sequence[float]:
        """Upper bounds of the buckets of `Stats.seconds`, ascending."""

    @property
    def constant_answers(self) -> Mapping[str, bytes]:
        """Methods that are answered at once with this body, without Python: what the transport
        alone can do. For benchmarks.
        """

class Stats(TypedDict):
    """Counters since the transport was made."""

    accepted: int
    """Calls queued for Python."""
    replied: int
    failed: int
    cancelled: int
    """Calls that the client cancelled, or whose deadline passed, before they were answered."""
    dropped_replies: int
    """Late or double replies."""
    in_flight: int
    """Calls accepted and not yet answered."""
    oldest_waiting_seconds: float
    """For how long `next_calls` has not been asked though calls wait."""
    codes: dict[tuple[int, int], int]
    """How many calls of each method, by index, ended with each status code; those of a known
    method that were refused before they were accepted (too large, too many) as well.
    """
    seconds: dict[int, tuple[list[int], float]]
    """How long the accepted calls of each method took, by `Options.seconds_bounds`: how many were
    at most each bound and above the bound before, then how many were above all; and the sum.
    """
    connections: int
    """Open now."""
    wakes: int
    """How often a thread that moves bytes was woken for replies."""
    buffered_bytes: int
    """What `Options.max_buffered_bytes` limits, now."""

@final
class Transport:
    """A gRPC server.

    An address is `HOST:PORT` (a name, IPv4 or [IPv6]; port 0 = any) or `unix:PATH`. `methods` and
    `stream_methods` are full names (`/pkg.Service/Method`). It answers by itself what needs no
    Python: other methods (UNIMPLEMENTED), messages that are too large (RESOURCE_EXHAUSTED), and
    deadlines that pass (DEADLINE_EXCEEDED, at the deadline).
    """

    def __new__(
        cls,
        addresses: Sequence[str],
        methods: Sequence[str],
        stream_methods: Sequence[str] = (),
        options: Options | None = None,
    ) -> Transport:
        """Raises ValueError for an address that cannot be understood. Nothing is bound yet."""

    def set_tls(
        self,
        certificate_chain: bytes,
        private_key: bytes,
        client_ca: bytes | None = None,
        requires_client_certificate: bool = False,
    ) -> None:
        """Serve TLS on the TCP addresses, with these contents of PEM files. Before `start`, or
        later to change certificates: connections made from then on get the new ones.

        With `client_ca`, certificates of clients are verified against it. Raises ValueError that
        says which part cannot be used and why, and then nothing has changed; RuntimeError when the
        transport was started without TLS.
        """

    def start(self) -> int:
        """Bind and accept. Returns the port of the first TCP address, 0 if there is none.

        Raises OSError that names the address when it cannot be bound, and then nothing is bound.
        RuntimeError when it was started or stopped before.
        """

    def stop(self, grace: float) -> bool:
        """Stop accepting, wait up to `grace` seconds for accepted calls to be answered, then close.

        Clients are told to go away, and calls that they make before they hear of it are served.
        `next_calls` keeps handing out accepted calls meanwhile and returns None at the end. True if
        every call was answered in time; the rest get UNAVAILABLE. Streams that nobody ends hold it
        for the whole grace. Returns once the threads have ended. Further calls do nothing and
        return True.
        """

    def next_calls(
        self, timeout: float | None
    ) -> tuple[list[int], list[int], list[bytes], list[float | None] | None, list[int]] | None:
        """ALL calls that have arrived, oldest first: ids, methods by index, bodies, deadlines
        (on the scale of `time.monotonic`, None for a call without one; None altogether when no call
        has one), and ids handed out earlier that since then want no answer.

        Waits for the first call or cancellation up to `timeout` seconds (0 polls, None waits for
        ever). Empty lists after a time-out. None once the transport has stopped and nothing more
        will come. The GIL is released only to wait.
        """

    def reply_many(self, ids: Sequence[int], answers: Sequence[bytes | tuple[int, str]]) -> None:
        """Answer several calls at once, each with its own body, or status code and message.

        Late and double replies are dropped and counted. Raises ValueError when the lengths differ
        or a code is not one of gRPC's errors, TypeError for another type of answer, and then
        nothing has been answered.
        """

    def reply_split(self, ids: Sequence[int], rows: Buffer, prefix: bytes, suffix: bytes) -> None:
        """Answer calls with equal pieces of `rows`, in order, each between `prefix` and `suffix`.

        `rows` is C-contiguous, of any element type, and its size in bytes a multiple of the number
        of ids; it may change once this has returned. Raises ValueError otherwise, and then nothing
        has been answered.
        """

    def cork(self) -> None:
        """Let answers wait for others until `uncork`, so that they leave in one piece. One that
        comes 0.2 ms after the first that waits takes them all along.
        """

    def uncork(self) -> None:
        """Send the answers that wait, and let none wait any more."""

    def fail_many(self, ids: Sequence[int], code: int, message: str) -> None:
        """Answer several calls with one error."""

    def alive(self, ids: Sequence[int]) -> list[bool]:
        """Which calls still want an answer: not cancelled, past their deadline or answered."""

    def next_messages(self, timeout: float | None) -> list[tuple[int, int, bytes | None]] | None:
        """What has come in on streaming methods: stream id, index into `stream_methods`, message.

        A message of None means that the client has finished sending, or that the stream is gone: it
        may come once for either, and `send_message` tells which. Index -1 is the echo of `ping`,
        its token in the stream id's place. Waits as `next_calls` does; an empty list after a
        time-out; None once the transport has stopped and nothing more will come.
        """

    def send_message(self, stream: int, message: bytes) -> bool:
        """Send a message on a stream. False if the stream is gone, or ends with an error because
        the message is too large.
        """

    def end_stream(self, stream: int, code: int = 0, message: str = "") -> None:
        """End a stream with a status. Does nothing if the stream is gone."""

    def ping(self, token: int) -> None:
        """Have `token` travel through every I/O thread and come out of `next_messages`: one that is
        wedged keeps it.
        """

    def fileno(self) -> int:
        """An eventfd, readable when calls or cancellations wait, and at the end, for an event loop.
        Made at the first use, closed with this object. Read it *before* emptying the queue, or a
        wake-up is lost.
        """

    def stats(self) -> Stats:
        """Counters since the transport was made."""
