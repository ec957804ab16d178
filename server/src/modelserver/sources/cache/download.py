"""Download: brings the files of one version into a folder, in parallel, and goes on where an
earlier try was stopped.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from modelserver.core.storage_path import StoragePath
from modelserver.errors import CancelledError, DataLossError, UnavailableError
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.checksum import combined, extend
from modelserver.sources.cache.journal import Journal
from modelserver.sources.cache.parts import PART_BYTES, Part, split
from modelserver.sources.cache.version_cache import JOURNAL
from modelserver.sources.storage.base import ObjectStore

WORKERS = 8
"""How many parts of one version are fetched at a time. Each holds a megabyte at most."""

_MAX_FAILURES = 5
"""How often in a row a part may fail to bring a single byte before the whole fetch fails."""

_READ_BYTES = 1 << 20


class Download:
    """One try to bring `version` from `store` into `folder`. For one thread, which calls `run`.

    It fetches `workers` parts at a time, of `part_bytes` at most. What `folder` has by its journal
    is checked against the checksums there, and not fetched again. `bytes_here` and `bytes_received`
    may be read by any thread: how much of the version is on the disk, and how much of that this try
    has fetched.
    """

    def __init__(
        self,
        store: ObjectStore,
        version: StoragePath,
        folder: Path,
        cancellation: Cancellation,
        workers: int = WORKERS,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self.bytes_here = 0
        self.bytes_received = 0
        self._store = store
        self._version = version
        self._folder = folder
        self._files = folder / "files"
        self._cancellation = cancellation
        self._failed = threading.Event()
        self._counting = threading.Lock()
        self._errors: list[BaseException] = []
        self._workers = workers
        self._parts = split(version.files, part_bytes)
        self._queue = iter(self._parts)

    def run(self) -> None:
        """Fetch what is missing, check everything, and leave the folder ready to be published.

        Raises:
            ServingError: what the store says; DataLossError where the content does not match its
                checksum; CancelledError. What has been fetched stays for the next try.
            OSError: the disk's errors.

        """
        journal = Journal(str(self._folder / JOURNAL))
        with closing(journal):
            self._make_files()
            self._bring_all(journal)
            self._verify(journal)

    # What is there…

    def _has(self, part: Part, journal: Journal) -> bool:
        """Whether a part is on the disk, as it was when it was recorded: also a power failure may
        have come in between.
        """
        crc = journal.parts.get(part)
        if crc is None or crc != self._checksum_on_disk(part):
            return False
        self._count(len(part), received=0)
        return True

    def _checksum_on_disk(self, part: Part) -> int | None:
        try:
            with open(self._files / part.name, "rb") as file:
                file.seek(part.start)
                crc, left = 0, len(part)
                while left and (data := file.read(min(left, _READ_BYTES))):
                    crc, left = extend(crc, data), left - len(data)
        except OSError:
            return None
        return None if left else crc

    def _make_files(self) -> None:
        for name in self._version.files:
            path = self._files / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    # …and what is fetched.

    def _bring_all(self, journal: Journal) -> None:
        """Fetch the parts that are not here; the first that fails ends the others."""
        # Daemons: one whose store says nothing must not keep the process from ending.
        threads = [
            threading.Thread(
                target=self._work, args=[journal], name=f"download_{number}", daemon=True
            )
            for number in range(min(self._workers, len(self._parts)))
        ]
        begun: list[threading.Thread] = []
        try:
            for thread in threads:
                thread.start()
                begun.append(thread)
        except RuntimeError:  # no more threads are to be had: the next try may find some
            self._failed.set()
            raise
        finally:
            for thread in begun:
                thread.join()
        if self._errors:
            # Those that were only told to end say less than the one that failed.
            raise min(self._errors, key=lambda error: isinstance(error, CancelledError))

    def _work(self, journal: Journal) -> None:
        """Bring part after part, until there is none left or one has failed."""
        try:
            while not self._failed.is_set() and (part := self._next_part()) is not None:
                if not self._has(part, journal):
                    journal.record(part, self._fetch(part))
        except BaseException as error:
            self._failed.set()
            self._errors.append(error)

    def _next_part(self) -> Part | None:
        with self._counting:
            return next(self._queue, None)

    def _fetch(self, part: Part) -> int:
        """Write one part to the disk; returns its checksum. Goes on after errors that may pass."""
        crc, position, failures = 0, part.start, 0
        with open(self._files / part.name, "r+b") as file:
            file.seek(position)
            while position < part.stop:
                try:
                    for data in self._read(part, position):
                        file.write(data)
                        crc, position, failures = extend(crc, data), position + len(data), 0
                except UnavailableError:
                    failures += 1
                    if failures >= _MAX_FAILURES:
                        raise
                    self._pause(failures)
        return crc

    def _read(self, part: Part, position: int) -> Iterator[bytes]:
        info = self._version.files[part.name]
        pieces = self._store.read(self._version.place, part.name, info, position, part.stop)
        with closing(pieces):
            for data in pieces:
                self._check_cancelled()
                self._count(len(data), received=len(data))
                yield data

    def _pause(self, failures: int) -> None:
        self._cancellation.wait(min(0.25 * 2.0**failures, 8.0) * random.uniform(0.5, 1.0))
        self._check_cancelled()

    def _check_cancelled(self) -> None:
        if self._cancellation.is_cancelled or self._failed.is_set():
            raise CancelledError(f"Fetching {self._version.place} was cancelled")

    def _count(self, size: int, *, received: int) -> None:
        with self._counting:
            self.bytes_here += size
            self.bytes_received += received

    # Before it is used…

    def _verify(self, journal: Journal) -> None:
        """Compare each file's checksum with the one that the store states."""
        by_name: dict[str, list[Part]] = {}
        for part in self._parts:
            by_name.setdefault(part.name, []).append(part)
        for name, info in self._version.files.items():
            parts = by_name.get(name, [])
            crc = combined((journal.parts[part], len(part)) for part in parts)
            if info.crc32c not in (None, crc):
                journal.forget(name)
                raise DataLossError(
                    f"{self._version.place}/{name} does not match its checksum: CRC32C "
                    f"{crc:08x} was received, {info.crc32c:08x} is stated. It is fetched again"
                )
