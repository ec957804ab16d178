"""Fetch: one version that is wanted here, from the first request for it until it is let go."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from modelserver.clock import Clock
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.errors import CancelledError, ServingError, as_serving_error
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.download import Download
from modelserver.sources.cache.locks import FileLock
from modelserver.sources.cache.version_cache import VersionCache, disk_full_told, in_words
from modelserver.sources.storage.base import ObjectStore

_log = logging.getLogger(__name__)

MAX_RETRY_SECONDS = 60.0
_LOOK_SECONDS = 1.0
"""How often it is looked whether another process has finished."""

DOWNLOADING = HeldBack("downloading", is_coming=True)


def retry_seconds(failures: int) -> float:
    """How long to wait after so many failed tries in a row: 1, 2, 4, … seconds, up to a minute."""
    return min(2.0 ** min(failures - 1, 16), MAX_RETRY_SECONDS)


@dataclass(frozen=True, slots=True)
class FetchContext:
    """What all fetches share: from where, to where, and how many at a time."""

    store: ObjectStore
    cache: VersionCache
    slots: threading.Semaphore
    clock: Clock


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far a version is. Sizes in bytes, of all its `files` together.

    `path` is where it will be, or is. `size_here` is on the disk, `size_received` what this process
    has fetched, at `bytes_per_second` on average over the present try. A version that `is_here`
    without a byte received was in the cache.
    """

    uri: str
    path: str
    address: str
    size: int
    files: int
    is_here: bool
    size_here: int
    size_received: int
    bytes_per_second: float
    failures: int

    @property
    def was_kept(self) -> bool:
        """Whether it was in the cache all along."""
        return self.is_here and not self.size_received


class Fetch:
    """Brings one version here, trying for ever, and keeps it from leaving until `let_go`.

    `is_here`, `run`, `bring` and `settle` are for one thread, the rest for any. `version` may be
    exchanged for another of the same address, of which the next try is then made.
    """

    def __init__(
        self,
        version: StoragePath,
        address: str,
        context: FetchContext,
        cancellation: Cancellation,
    ) -> None:
        self.version = version
        self.address = address
        self._held_back: HeldBack | None = DOWNLOADING
        self._is_trying = False
        self._context = context
        self._cancellation = cancellation
        self._keeping = threading.Lock()
        self._lock: FileLock | None = None
        self._download: Download | None = None
        self._began = 0.0
        self._seconds = 0.0
        self._received_before = 0
        self._failures = 0

    @property
    def awaited(self) -> HeldBack | None:
        """What the version still waits for; None once it is here. A failure is told until the next
        try has got somewhere.
        """
        held_back, download = self._held_back, self._download
        if held_back is not None and self._is_trying and download and download.bytes_received:
            return DOWNLOADING
        return held_back

    def is_here(self) -> bool:
        """Look whether the version is in the cache already, and keep it there if it is."""
        try:
            lock = self._context.cache.use(self.address)
        except (ServingError, OSError):
            return False  # `run` meets the same, and says so
        return lock is not None and self._keep(lock)

    def run(self, tell: Callable[[], None]) -> None:
        """Bring the version here. Calls `tell` when it is, and at each failure."""
        while not self._cancellation.is_cancelled:
            try:
                is_kept = self._keep(self.bring())
            except CancelledError:
                return
            except Exception as error:
                retry_at = self._fail(as_serving_error(error))
                tell()
                self._cancellation.wait_until(retry_at)
            else:
                if is_kept:
                    tell()
                    self.settle()
                return

    def bring(self) -> FileLock:
        """Try once to bring the version here; returns the lock that keeps it.

        Raises:
            ServingError: it cannot be had at present; says why.
            OSError: the disk's errors.

        """
        slots = self._context.slots
        while (lock := self._context.cache.use(self.address)) is None:
            self._check_cancelled()
            if slots.acquire(timeout=_LOOK_SECONDS):
                try:
                    is_taken = not self._bring_alone()
                finally:
                    slots.release()
                if is_taken:
                    self._cancellation.wait(_LOOK_SECONDS)
        return lock

    def settle(self) -> None:
        """Have a version that is here on the disk itself, unless it is. May take a while."""
        cache = self._context.cache
        try:
            if not cache.is_settled(self.address):
                cache.settle(self.address)
        except OSError as error:
            _log.warning("%s may be fetched again after a restart: %s", self.version.place, error)

    def let_go(self) -> None:
        """Bring it no more, and keep it no longer. Returns at once."""
        self._cancellation.cancel()
        with self._keeping:
            lock, self._lock = self._lock, None
        if lock is not None:
            lock.release_used()

    def _keep(self, lock: FileLock) -> bool:
        """Keep the version by this lock, unless it was let go of meanwhile. Whether it is kept."""
        with self._keeping:
            if not self._cancellation.is_cancelled:
                self._lock, self._held_back = lock, None
                return True
        lock.release()
        return False

    @property
    def progress(self) -> FetchProgress:
        """How far it is."""
        download = self._download
        files = self.version.files
        size = sum(info.size for info in files.values())
        is_here = self.awaited is None
        received = download.bytes_received if download else 0
        return FetchProgress(
            uri=self.version.place,
            path=self.version.path,
            address=self.address,
            size=size,
            files=len(files),
            is_here=is_here,
            size_here=size if is_here else download.bytes_here if download else 0,
            size_received=self._received_before + received,
            bytes_per_second=received / seconds if (seconds := self._elapsed()) else 0.0,
            failures=self._failures,
        )

    def _elapsed(self) -> float:
        if self._download is None:
            return 0.0
        return self._seconds or self._context.clock.monotonic() - self._began

    def _check_cancelled(self) -> None:
        if self._cancellation.is_cancelled:
            raise CancelledError(f"Fetching {self.version.place} was cancelled")

    def _bring_alone(self) -> bool:
        """Have the version in the cache; False if another process is just doing that."""
        claim = self._context.cache.claim(self.address)
        if claim is None:
            return False
        try:
            if not self._context.cache.has(self.address):
                self._fetch(self.version)
        finally:
            claim.release()
        return True

    def _fetch(self, version: StoragePath) -> None:
        """Download into the cache, as the only one who does."""
        cache = self._context.cache
        folder = cache.begin(self.address, version.place, version.files)
        self._start_clock()
        self._download = download = Download(
            self._context.store, version, folder, self._cancellation
        )
        self._is_trying = True
        try:
            with disk_full_told(cache.root):
                download.run()
                cache.publish(self.address)
        finally:
            self._is_trying = False
        self._seconds = max(self._context.clock.monotonic() - self._began, 1e-9)
        _log.info(
            "Fetched %s: %s received in %.1f s",
            version.place,
            in_words(download.bytes_received),
            self._seconds,
        )

    def _start_clock(self) -> None:
        if self._download is not None:
            self._received_before += self._download.bytes_received
        self._began, self._seconds = self._context.clock.monotonic(), 0.0

    def _fail(self, error: ServingError) -> float:
        """Note a failed try; returns when (monotonic) the next one is due."""
        self._failures += 1
        seconds = retry_seconds(self._failures)
        if self._held_back is None or str(self._held_back.error) != str(error):
            _log.warning("Fetching %s failed, it is tried again: %s", self.version.place, error)
        retry_time = self._context.clock.time() + seconds
        error.__cause__ = error.__context__ = None
        failure = error.with_traceback(None)
        self._held_back = HeldBack("the download is tried again", False, failure, retry_time)
        return self._context.clock.monotonic() + seconds
