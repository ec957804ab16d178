"""Downloads in processes that are killed: what has been fetched is not fetched again."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from modelserver.sources.cache.checksum import extend
from modelserver.sources.cache.download import WORKERS
from modelserver.sources.cache.version_cache import VersionCache

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 30
PART_BYTES = 64 * 1024
CHUNK_BYTES = 16 * 1024
ADDRESS = "0123456789abcdef"

FETCHER = f"""
import json, os, signal, sys
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from modelserver.clock import SystemClock
from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.download import Download
from modelserver.sources.cache.version_cache import VersionCache


class HttpStore:
    def read(self, version_path, name, info, start, stop):
        headers = {{"Range": f"bytes={{start}}-{{stop - 1}}"}}
        with urlopen(Request(f"{{version_path}}/{{quote(name)}}", headers=headers)) as answer:
            while data := answer.read1(1 << 20):
                yield data


def die_if(moment):
    if sys.argv[3] == moment:
        os.kill(os.getpid(), signal.SIGKILL)


root, uri = Path(sys.argv[1]), sys.argv[2]
listing = json.loads(sys.stdin.read())
files = {{name: FileInfo(size, crc32c=crc) for name, (size, crc) in listing.items()}}
cache = VersionCache(root)
claim = cache.claim("{ADDRESS}")
assert claim is not None, "whoever was killed still holds it"
folder = cache.begin("{ADDRESS}", uri, files)
cancellation = Cancellation(SystemClock())
version = StoragePath("", files, uri)
download = Download(HttpStore(), version, folder, cancellation, part_bytes={PART_BYTES})
download.run()
die_if("before it is published")
cache.publish("{ADDRESS}")
die_if("before it is settled")
cache.settle("{ADDRESS}")
"""


class Shop:
    """A server over HTTP that counts the bytes it sends, and sends no more than it is allowed."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.contents = contents
        self.sent = 0
        self._changed = threading.Condition()
        self._allowed: float = 0
        self._customer = 0
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shop.serve(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def open_for_another(self, until: float = float("inf")) -> None:
        """Send nothing more to whoever has come so far, and to the next one until so many bytes
        have been sent in all.
        """
        with self._changed:
            self._customer += 1
            self._allowed = until
            self._changed.notify_all()

    def wait_until_all_is_sent(self) -> None:
        """Wait until as many bytes have been sent as are allowed."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.sent >= self._allowed, PATIENCE_SECONDS)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        customer = self._customer
        first, last = handler.headers["Range"].removeprefix("bytes=").split("-")
        content = self.contents[handler.path.removeprefix("/")][int(first) : int(last) + 1]
        try:
            handler.send_response(206)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            for start in range(0, len(content), CHUNK_BYTES):
                chunk = content[start : start + CHUNK_BYTES]
                if not self._may_send(len(chunk), customer):
                    return
                handler.wfile.write(chunk)
        except ConnectionError:
            pass  # the customer was killed

    def _may_send(self, size: int, customer: int) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: customer != self._customer or self.sent < self._allowed, PATIENCE_SECONDS
            )
            if customer != self._customer:
                return False
            self.sent += size
            self._changed.notify_all()
            return True

    def close(self) -> None:
        self.open_for_another()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    chance = random.Random(5)
    sizes = {"variables.data": 30 << 20} | {
        f"assets/{n}": chance.randrange(500_000) for n in range(40)
    }
    shop = Shop({name: chance.randbytes(size) for name, size in sizes.items()})
    yield shop
    shop.close()


@pytest.fixture
def start(shop: Shop, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process that fetches into the cache, and dies at a moment if it is told to."""
    started: list[subprocess.Popen[bytes]] = []
    listing = {name: (len(data), extend(0, data)) for name, data in shop.contents.items()}

    def start_one(moment: str = "never") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", FETCHER, str(tmp_path / "cache"), shop.url, moment]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(json.dumps(listing).encode())
        process.stdin.close()
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def cache(tmp_path: Path) -> VersionCache:
    return VersionCache(tmp_path / "cache")


def contents_here(cache: VersionCache) -> dict[str, bytes]:
    folder = Path(cache.path_of(ADDRESS))
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_after_every_kill_only_what_was_on_its_way_is_fetched_again(
    shop: Shop, start: Callable[..., subprocess.Popen[bytes]], cache: VersionCache
) -> None:
    size = sum(map(len, shop.contents.values()))
    kills = sorted(random.Random(7).sample(range(size), 20))

    for sent in kills:
        shop.open_for_another(until=max(sent, shop.sent + 1))
        process = start()
        shop.wait_until_all_is_sent()
        process.kill()
        process.wait()
        assert not cache.has(ADDRESS)
    shop.open_for_another()
    assert start().wait(PATIENCE_SECONDS) == 0

    assert contents_here(cache) == shop.contents
    assert size <= shop.sent <= size + len(kills) * WORKERS * PART_BYTES


@pytest.mark.parametrize("moment", ["before it is published", "before it is settled"])
def test_a_process_that_is_killed_once_all_is_here_leaves_nothing_to_fetch(
    shop: Shop, start: Callable[..., subprocess.Popen[bytes]], cache: VersionCache, moment: str
) -> None:
    shop.open_for_another()
    assert start(moment).wait(PATIENCE_SECONDS) < 0
    sent = shop.sent

    shop.open_for_another()
    assert start().wait(PATIENCE_SECONDS) == 0

    assert contents_here(cache) == shop.contents
    assert shop.sent == sent
