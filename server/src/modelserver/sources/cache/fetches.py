"""Fetches: has the versions that are wanted in the cache, and keeps them there."""

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from modelserver.clock import Clock, SystemClock
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.errors import as_serving_error
from modelserver.sources.cache.address import address_of
from modelserver.sources.cache.arrivals import ArrivalCounts, Arrivals
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.counted_store import CountedStore
from modelserver.sources.cache.fetch import DOWNLOADING, Fetch, FetchContext, FetchProgress
from modelserver.sources.cache.version_cache import CacheUsage, VersionCache
from modelserver.sources.storage.base import ObjectStore, Release

MAX_AT_A_TIME = 4
"""How many versions are fetched at a time: enough that one slow download delays no other model."""


class Fetches:
    """The versions of all servables that are fetched from `store` into `cache`. Thread-safe.

    Each version that is not here has a thread of its own, so that its retries wait for nobody's.
    """

    def __init__(self, store: ObjectStore, cache: VersionCache, clock: Clock | None = None) -> None:
        clock = clock or SystemClock()
        slots = threading.Semaphore(MAX_AT_A_TIME)
        self._arrivals = Arrivals()
        self._context = FetchContext(CountedStore(store, self._arrivals), cache, slots, clock)
        self._stopping = Cancellation(clock)
        self._lock = threading.Lock()
        self._fetches: dict[str, Fetch] = {}
        self._listeners: dict[str, dict[str, Callable[[], None]]] = {}
        self.usage = CacheUsage(0, 0, cache.size_limit)
        """How full the cache was when it last changed."""

    def want(
        self, name: str, versions: Sequence[StoragePath], on_change: Callable[[], None]
    ) -> None:
        """Fetch and keep exactly these versions for `name`: see `Storage.fetch`."""
        wanted = {address_of(version.place, version.files): version for version in versions}
        lost = self._lost(wanted)
        with self._lock:
            if self._stopping.is_cancelled:
                return
            ended = [*self._forget(name, self._listeners.keys() - wanted.keys()), *lost]
            begun = [self._begin(*item, lost) for item in wanted.items()]
            is_news = [self._listen(name, address, on_change) for address in wanted]
        for old in ended:
            old.let_go()
        for new in begun:
            if new is not None:
                self._start(new, name)
        if any(is_news):
            on_change()

    def awaited(self, version: StoragePath) -> HeldBack | None:
        """Say what a version waits for; None if it is here."""
        address = address_of(version.place, version.files)
        fetch = self._fetches.get(address)
        if fetch is not None and fetch.awaited is not None:
            return fetch.awaited
        return None if self._context.cache.has(address) else DOWNLOADING

    def hold(self, version: StoragePath) -> Release:
        """Keep a version here, whoever else wants it; fetch it on this thread if it must be."""
        address = address_of(version.place, version.files)
        cancellation = Cancellation(self._context.clock, self._stopping)
        fetch = Fetch(version, address, self._context, cancellation)
        try:
            lock = fetch.bring()
        except OSError as error:
            raise as_serving_error(error) from error
        if fetch.progress.size_received:  # else it was counted when it was wanted
            self._arrivals.add_version(was_kept=False)
            fetch.settle()
        return lock.release_used

    def progress(self) -> tuple[FetchProgress, ...]:
        """How far each wanted version is."""
        return tuple(fetch.progress for fetch in list(self._fetches.values()))

    @property
    def arrivals(self) -> ArrivalCounts:
        """What has been brought so far, also of versions that are not wanted any more."""
        return self._arrivals.counts

    def stop(self) -> None:
        """Fetch no more. What has been fetched stays for the next start."""
        with self._lock:
            self._stopping.cancel()
            fetches = list(self._fetches.values())
        for fetch in fetches:
            fetch.let_go()

    def _lost(self, addresses: Iterable[str]) -> list[Fetch]:
        """What has brought a version that is gone all the same: somebody has cleared the cache."""
        fetches = [fetch for a in addresses if (fetch := self._fetches.get(a)) is not None]
        return [f for f in fetches if f.awaited is None and not self._context.cache.has(f.address)]

    # With the lock…

    def _begin(self, address: str, version: StoragePath, lost: Sequence[Fetch]) -> Fetch | None:
        """Note that a version is wanted; returns what is to bring it where nothing does, or has."""
        known = self._fetches.get(address)
        if known is None or known in lost:
            cancellation = Cancellation(self._context.clock, self._stopping)
            self._fetches[address] = Fetch(version, address, self._context, cancellation)
            return self._fetches[address]
        if known.awaited is not None:
            known.version = version  # it may have been listed anew since, or elsewhere
        return None

    def _listen(self, name: str, address: str, on_change: Callable[[], None]) -> bool:
        """Tell `name` of a version from here on. Whether it has arrived without `name` being told:
        that may not have known when it asked.
        """
        listeners = self._listeners.setdefault(address, {})
        is_new = name not in listeners
        listeners[name] = on_change
        return is_new and self._fetches[address].awaited is None

    def _forget(self, name: str, addresses: Iterable[str]) -> list[Fetch]:
        """Tell `name` of these versions no more; returns what brings those that nobody wants."""
        for address in addresses:
            self._listeners[address].pop(name, None)
        unwanted = [address for address, listeners in self._listeners.items() if not listeners]
        for address in unwanted:
            del self._listeners[address]
        return [self._fetches.pop(address) for address in unwanted]

    # …and without.

    def _start(self, fetch: Fetch, name: str) -> None:
        """Bring the version. Who is `name` need not be told if it is here."""
        run: Callable[[], None] = partial(fetch.run, partial(self._tell, fetch))
        if fetch.is_here():
            self._tell(fetch, but=name)
            run = fetch.settle  # who fetched it may not have come to that
        try:
            threading.Thread(target=run, name=f"fetch-{fetch.address[:8]}", daemon=True).start()
        except RuntimeError:  # no thread is to be had: the next poll asks again
            with self._lock:
                self._fetches.pop(fetch.address, None)
                self._listeners.pop(fetch.address, None)
            fetch.let_go()
            raise

    def _tell(self, fetch: Fetch, *, but: str | None = None) -> None:
        if fetch.awaited is None:
            self._arrivals.add_version(was_kept=fetch.progress.was_kept)
        self.usage = self._context.cache.usage()
        with self._lock:
            listeners = dict(self._listeners.get(fetch.address, {}))
        for name, listener in listeners.items():
            if name != but:
                listener()
