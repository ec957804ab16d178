"""One fetch of a version from a bucket, in a process of its own: prints what it took as JSON.

    bench_storage_fetch.py VARIANT gs://BUCKET/PATH DIRECTORY

STORAGE_EMULATOR_HOST says where. The time is that of the fetch alone: what a process imports and
where it connects first is the same for all.
"""

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from google.cloud import storage
from google.cloud.storage import transfer_manager

from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.storage.cached import CachedStorage
from modelserver.sources.storage.gcs import GcsStore

WORKERS = 8
CHUNK_BYTES = 32 * 2**20  # the transfer manager's own default


def ours(uri: str, directory: Path) -> Callable[[], None]:
    """The server's own way: listing, fetching, checking, publishing."""
    storage_ = CachedStorage(GcsStore(), VersionCache(directory))
    storage_.list_files(uri)  # connects, and imports what that needs

    def fetch() -> None:
        arrived = threading.Event()
        version = storage_.locate(uri, storage_.list_files(uri))
        storage_.fetch("bench", [version], arrived.set)
        arrived.wait()
        assert storage_.awaited(version) is None, storage_.awaited(version)

    return fetch


def transfer_manager_chunks(worker_type: str) -> Callable[[str, Path], Callable[[], None]]:
    """The client library's manager: each file in ranges, one file after the other."""

    def make(uri: str, directory: Path) -> Callable[[], None]:
        blobs, folder = _blobs(uri), _folder(directory)

        def fetch() -> None:
            for blob in blobs():
                transfer_manager.download_chunks_concurrently(
                    blob,
                    str(folder / Path(blob.name).name),
                    chunk_size=CHUNK_BYTES,
                    max_workers=WORKERS,
                    worker_type=worker_type,
                )

        return fetch

    return make


def transfer_manager_files(worker_type: str) -> Callable[[str, Path], Callable[[], None]]:
    """The client library's manager: whole files side by side."""

    def make(uri: str, directory: Path) -> Callable[[], None]:
        blobs, folder = _blobs(uri), _folder(directory)

        def fetch() -> None:
            pairs = [(blob, str(folder / Path(blob.name).name)) for blob in blobs()]
            results = transfer_manager.download_many(
                pairs, max_workers=WORKERS, worker_type=worker_type
            )
            assert not any(isinstance(result, Exception) for result in results), results

        return fetch

    return make


def one_by_one(uri: str, directory: Path) -> Callable[[], None]:
    """A loop over `download_to_filename`, as most code has it."""
    blobs, folder = _blobs(uri), _folder(directory)

    def fetch() -> None:
        for blob in blobs():
            blob.download_to_filename(str(folder / Path(blob.name).name))

    return fetch


VARIANTS: dict[str, Callable[[str, Path], Callable[[], None]]] = {
    "modelserver": ours,
    "transfer manager, ranges, threads": transfer_manager_chunks("thread"),
    "transfer manager, ranges, processes": transfer_manager_chunks("process"),
    "transfer manager, files, threads": transfer_manager_files("thread"),
    "transfer manager, files, processes": transfer_manager_files("process"),
    "file by file": one_by_one,
}


def _blobs(uri: str) -> Callable[[], list[storage.Blob]]:
    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    client = storage.Client(project=None)
    list(client.list_blobs(bucket, prefix=f"{prefix}/"))  # connects, and imports what that needs
    return lambda: list(client.list_blobs(bucket, prefix=f"{prefix}/"))


def _folder(directory: Path) -> Path:
    folder = directory / "files"
    folder.mkdir(parents=True)
    return folder


def resident_bytes() -> int:
    """What the process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes() -> int:
    """The most that the process has had. Not `ru_maxrss`: that begins with what its parent had."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main(argv: list[str]) -> int:
    """Fetch once."""
    variant, uri, directory = argv
    fetch = VARIANTS[variant](uri, Path(directory))
    idle = resident_bytes()
    begin = time.perf_counter()
    fetch()
    seconds = time.perf_counter() - begin
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    peak = peak_resident_bytes()
    cpu = sum(u.ru_utime + u.ru_stime for u in used)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peakAboveIdle": peak - idle}), flush=True)
    os._exit(0)  # threads that are settling what was fetched need not be waited for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
