from modelserver.rpc.transport.call_queue import CallQueue
from modelserver.testing.clock import ManualClock


def test_news_of_a_cancelled_call_do_not_make_the_next_one_old() -> None:
    clock = ManualClock()
    queue: CallQueue[str] = CallQueue(clock)
    cancelled = queue.accept(0, b"", None, "cancelled")
    queue.take(0)
    clock.advance(3600)

    queue.abandon(cancelled)
    queue.accept(0, b"", None, "next")
    clock.advance(2)

    assert queue.stats().oldest_waiting_seconds == 2
