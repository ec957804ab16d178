"""Answers cut from one buffer or leaving together, and requests gathered into one buffer, on every
Transport.
"""

from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest

from modelserver.rpc.transport.base import ContiguousBuffer, Transport
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.rpc.transport.native import NativeTransport, why_not_native
from modelserver.testing.transport import MemoryTransport

ECHO = "/test.Texts/Echo"
FAR_SECONDS = 30.0

Ask = Callable[[int], Callable[[], list[bytes]]]
"""Begins a number of calls; what it returns waits for the answers."""


def make(name: str) -> Transport:
    if name == "memory":
        return MemoryTransport([ECHO])
    if name == "grpc_aio":
        return GrpcAioTransport("127.0.0.1:0", [ECHO])
    if reason := why_not_native():
        pytest.skip(reason)
    return NativeTransport("127.0.0.1:0", [ECHO])


@pytest.fixture(params=["native", "grpc_aio", "memory"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    transport = make(request.param)
    yield transport
    transport.stop(0)


@pytest.fixture
def ask(transport: Transport) -> Iterator[Ask]:
    port = transport.start()

    def in_memory(count: int) -> Callable[[], list[bytes]]:
        assert isinstance(transport, MemoryTransport)
        begun = [transport.begin(ECHO, b"%d" % number) for number in range(count)]
        return lambda: [call.answer() for call in begun]

    if isinstance(transport, MemoryTransport):
        yield in_memory
        return
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def over_grpc(count: int) -> Callable[[], list[bytes]]:
            echo = channel.unary_unary(ECHO)
            begun = [echo.future(b"%d" % number) for number in range(count)]
            return lambda: [future.result(FAR_SECONDS) for future in begun]

        yield over_grpc


def ids_in_order(transport: Transport, count: int) -> list[int]:
    """The ids of calls whose bodies are the numbers from 0 on, by these."""
    ids: dict[int, int] = {}
    while len(ids) < count:
        calls = transport.next_calls(FAR_SECONDS)
        assert calls is not None
        ids |= {int(body): id for body, id in zip(calls.bodies, calls.ids, strict=True)}
    return [ids[number] for number in range(count)]


def test_each_call_gets_its_piece_between_prefix_and_suffix(transport: Transport, ask: Ask) -> None:
    answers = ask(3)
    rows = np.array([[1, 2], [3, 4], [5, 6]], np.float32)

    transport.reply_split(ids_in_order(transport, 3), rows, b"<", b">")

    assert answers() == [b"<" + row.tobytes() + b">" for row in rows]
    assert transport.stats().replied == 3


def test_rows_may_change_once_the_answers_have_been_given(transport: Transport, ask: Ask) -> None:
    answers = ask(2)
    ids = ids_in_order(transport, 2)
    rows = bytearray(b"onetwo")

    transport.reply_split(ids, rows, b"", b"")
    rows[:] = b"xxxxxx"

    assert answers() == [b"one", b"two"]


def test_pieces_may_be_empty(transport: Transport, ask: Ask) -> None:
    answers = ask(2)

    transport.reply_split(ids_in_order(transport, 2), bytearray(), b"same", b"")

    assert answers() == [b"same", b"same"]


def test_a_call_that_has_its_answer_gets_no_piece(transport: Transport, ask: Ask) -> None:
    answers = ask(2)
    ids = ids_in_order(transport, 2)
    transport.reply_many(ids[:1], [b"first"])

    transport.reply_split(ids, bytearray(b"ab"), b"", b"")

    assert answers() == [b"first", b"b"]
    assert transport.stats().dropped_replies == 1


def test_answers_given_while_it_is_corked_are_there_once_it_is_not(
    transport: Transport, ask: Ask
) -> None:
    answers = ask(3)
    first, *others = ids_in_order(transport, 3)

    transport.cork()
    transport.reply_many([first], [b"first"])
    transport.reply_split(others, bytearray(b"ab"), b"", b"")
    transport.uncork()

    assert answers() == [b"first", b"a", b"b"]


def test_a_transport_that_stops_while_it_is_corked_keeps_no_answer(
    transport: Transport, ask: Ask
) -> None:
    answers = ask(2)
    ids = ids_in_order(transport, 2)

    transport.cork()
    transport.reply_many(ids, [b"first", b"second"])
    is_drained = transport.stop(FAR_SECONDS)

    assert is_drained
    assert answers() == [b"first", b"second"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (bytearray(b"abc"), "a buffer of 3 bytes cannot be cut into 2 answers"),
        (np.zeros((2, 4), np.uint8)[:, ::2], "not C-contiguous"),
    ],
)
def test_rows_that_cannot_be_cut_answer_nobody(
    transport: Transport, ask: Ask, rows: ContiguousBuffer, reason: str
) -> None:
    answers = ask(2)
    ids = ids_in_order(transport, 2)

    with pytest.raises(ValueError, match=reason):
        transport.reply_split(ids, rows, b"", b"")
    transport.reply_many(ids, [b"still", b"there"])

    assert answers() == [b"still", b"there"]


def test_a_buffer_for_no_calls_is_refused(transport: Transport) -> None:
    with pytest.raises(ValueError, match="cannot be cut into 0 answers"):
        transport.reply_split([], bytearray(b"abc"), b"", b"")


def test_a_piece_of_each_body_is_gathered_into_any_contiguous_buffer(transport: Transport) -> None:
    rows = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    out = np.empty((2, 3), np.float32)

    transport.gather(out, [b"head" + row.tobytes() + b"tail" for row in rows], 4, 12)

    assert (out == rows).all()


def test_nothing_is_gathered_from_no_bodies(transport: Transport) -> None:
    transport.gather(bytearray(), [], 4, 12)


@pytest.mark.parametrize(
    ("size", "bodies", "offset", "reason"),
    [
        (3, [b"ab", b"cd"], 0, "2 pieces of 2 bytes do not fill a buffer of 3"),
        (5, [b"ab", b"cd"], 0, "2 pieces of 2 bytes do not fill a buffer of 5"),
        (4, [b"ab", b"c"], 0, "a body of 1 bytes has no 2 from 0 on"),
        (4, [b"ab", b"cd"], 1, "a body of 2 bytes has no 2 from 1 on"),
    ],
)
def test_what_does_not_fit_is_not_gathered(
    transport: Transport, size: int, bodies: list[bytes], offset: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        transport.gather(bytearray(size), bodies, offset, 2)


def test_a_buffer_that_is_not_in_one_piece_is_not_gathered_into(transport: Transport) -> None:
    out = np.zeros((2, 4), np.uint8)[:, ::2]

    with pytest.raises(ValueError, match="not C-contiguous"):
        transport.gather(out, [b"ab", b"cd"], 0, 2)

    assert not out.any()


def test_a_buffer_that_cannot_be_written_is_not_gathered_into(transport: Transport) -> None:
    out = np.zeros(4, np.uint8)
    out.flags.writeable = False

    with pytest.raises(ValueError, match="read-only"):
        transport.gather(out, [b"ab", b"cd"], 0, 2)

    assert not out.any()
