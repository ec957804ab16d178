"""What goes on beside a server in use: somebody scrapes its metrics and reads its status."""

import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

_INTERVAL_SECONDS = 1.0
_PATHS = ("/metrics", "/status")
_TIMEOUT_SECONDS = 10.0


@contextmanager
def readers(admin_port: int) -> Iterator[None]:
    """While the block runs, read metrics and status at that port of 127.0.0.1, at once and then
    each second. Raises `OSError` at the block's end if a page could not be read: then the figures
    are not what they seem.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        reading = executor.submit(_read_each_second, admin_port, stop)
        try:
            yield
        finally:
            stop.set()
        reading.result()


def _read_each_second(port: int, stop: threading.Event) -> None:
    while True:
        for path in _PATHS:
            _read(port, path)
        if stop.wait(_INTERVAL_SECONDS):
            return


def _read(port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{path} of the admin port: {error!r}") from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise ConnectionError(f"{path} of the admin port: HTTP {response.status}")
