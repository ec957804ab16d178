"""The event loop that all grpc.aio objects of this process share.

grpc.aio has one completion queue per process, and serves it on the event loop that was running when
the first grpc.aio object was made; once that loop closes, objects on other loops stand still. So
there is one loop here, on a thread of its own, that is started when it is first needed and never
closed.
"""

import asyncio
import functools
import threading

import grpc.aio

_starting = threading.Lock()


def grpc_event_loop() -> asyncio.AbstractEventLoop:
    """The running loop. Thread-safe; the first call starts it."""
    with _starting:
        return _start_once()


@functools.cache
def _start_once() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="grpc-aio", daemon=True).start()
    asyncio.run_coroutine_threadsafe(_bind_grpc(), loop).result()
    return loop


async def _bind_grpc() -> None:
    # Held for ever: the completion queue must not be torn down and bound anew between servers.
    grpc.aio.init_grpc_aio()
