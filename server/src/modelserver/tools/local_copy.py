"""LocalCopy: one version, copied into a directory under its own name, whole or not at all."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modelserver.core.storage_path import StoragePath
from modelserver.errors import FailedPreconditionError, ResourceExhaustedError
from modelserver.sources.cache.address import address_of
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.download import Download
from modelserver.sources.cache.locks import try_lock
from modelserver.sources.cache.version_cache import JOURNAL, in_words
from modelserver.sources.storage.base import ObjectStore
from modelserver.sources.versions import parse_version


class LocalCopy:
    """The copy of `version` from `store` at `target`.

    It grows in `incoming` beside the target, which is left there when it is stopped: the next one
    goes on with what it finds there, if that is the same content.
    """

    def __init__(self, store: ObjectStore, version: StoragePath, target: Path) -> None:
        self.target = target
        self.incoming = target.parent / f".{target.name}.incoming"
        self._store = store
        self._version = version

    def make(
        self, cancellation: Cancellation, run: Callable[[Download], None] = Download.run
    ) -> None:
        """Copy what is missing, check all of it, and let the target appear. `run` runs the
        `Download`.

        Raises:
            FailedPreconditionError: the version is there already, or is being copied by another
                process.
            ResourceExhaustedError: the disk has no room.
            ServingError, OSError: as for `Download.run`.

        """
        require_free(self.target)
        with self._claimed():
            require_free(self.target)  # by whoever had claimed it until now
            self._prepare()
            run(Download(self._store, self._version, self.incoming, cancellation))
            self._sync()
            os.rename(self.incoming / "files", self.target)
            shutil.rmtree(self.incoming)

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        self.incoming.mkdir(parents=True, exist_ok=True)
        lock = try_lock(str(self.incoming / "lock"), alone=True)
        if lock is None:
            raise FailedPreconditionError(f"{self.target} is being copied by another process")
        try:
            yield
        finally:
            lock.release()

    def _prepare(self) -> None:
        """Keep what an earlier try has left only if it was of the same content."""
        address, file = self._address(), self.incoming / "address"
        if not file.exists() or file.read_text() != address:
            shutil.rmtree(self.incoming / "files", ignore_errors=True)
            (self.incoming / JOURNAL).unlink(missing_ok=True)
            file.write_text(address)
        (self.incoming / "files").mkdir(exist_ok=True)
        self._require_room()

    def _sync(self) -> None:
        """Have the files on the disk itself before their folder counts as a whole version."""
        for name in self._version.files:
            with open(self.incoming / "files" / name, "rb") as file:
                os.fsync(file.fileno())

    def _address(self) -> str:
        return address_of(self._version.place, self._version.files)

    def _require_room(self) -> None:
        size = sum(info.size for info in self._version.files.values())
        written = sum(
            path.stat().st_blocks * 512 for path in self.incoming.rglob("*") if path.is_file()
        )
        free = shutil.disk_usage(self.incoming).free
        if size - written > free:
            raise ResourceExhaustedError(
                f"{self.target.parent} has no room for {self._version.place}: "
                f"{in_words(size - written)} are needed, {in_words(free)} are free"
            )


def require_free(target: Path) -> None:
    """Raise `FailedPreconditionError` where `target`, or its version under another spelling of the
    number, is there already.
    """
    number = parse_version(target.name)
    siblings = target.parent.iterdir() if target.parent.is_dir() else ()
    for sibling in siblings:
        if sibling.name == target.name or (
            number is not None and parse_version(sibling.name) == number
        ):
            raise FailedPreconditionError(f"{sibling} exists already")
