"""Answers that wait for each other in the Rust transport: how long, and what does not."""

import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

ECHO = "/test.Texts/Echo"
FAR_SECONDS = 30.0
LONG_ENOUGH_TO_SEE = 0.3
LONGER_THAN_ANSWERS_WAIT = 0.01


def begin(channel: grpc.Channel, *bodies: bytes) -> list[Any]:
    return [channel.unary_unary(ECHO).future(body, timeout=FAR_SECONDS) for body in bodies]


def take(transport: Any, count: int) -> list[int]:
    ids: list[int] = []
    while len(ids) < count:
        ids += transport.next_calls(FAR_SECONDS)[0]
    return ids


def test_an_answer_waits_until_it_is_uncorked(serve: Callable[..., Any]) -> None:
    server = serve(is_echoing=False)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        (call,) = begin(channel, b"x")
        ids = take(server.transport, 1)

        server.transport.cork()
        server.transport.reply_many(ids, [b"waited"])
        with pytest.raises(grpc.FutureTimeoutError):
            call.result(LONG_ENOUGH_TO_SEE)
        server.transport.uncork()

        assert call.result() == b"waited"


def test_an_answer_that_comes_a_while_later_takes_along_what_waits(
    serve: Callable[..., Any],
) -> None:
    server = serve(is_echoing=False)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        calls = begin(channel, b"x", b"y")
        first, second = take(server.transport, 2)

        server.transport.cork()
        server.transport.reply_many([first], [b"same"])
        time.sleep(LONGER_THAN_ANSWERS_WAIT)
        server.transport.reply_many([second], [b"same"])

        assert [call.result() for call in calls] == [b"same"] * 2


def test_what_is_not_an_answer_does_not_wait(serve: Callable[..., Any]) -> None:
    server = serve(is_echoing=False)
    server.transport.cork()

    server.transport.ping(7)
    messages = server.transport.next_messages(FAR_SECONDS)

    assert messages == [(7, -1, None)]
