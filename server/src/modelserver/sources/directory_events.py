"""DirectoryEvents: hears that a directory has changed, sooner than a poll would find out."""

import errno
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from modelserver.sources.inotify import Inotify, Record

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Watch:
    number: int
    path: str
    changed: Callable[[], None]


class DirectoryEvents:
    """Calls a function soon after a directory has changed: an entry came, went, was renamed or got
    other attributes, or the directory itself went. What happens further down is not told.

    A help, never a substitute for polls. A network mount tells only what this machine does to it,
    and the system may lack inotify or have no watch left: then nothing is told, and the debug log
    says so. What is watched is the directory that the path leads to at the time. When that is
    deleted, renamed or unmounted, this is told, and the watch is over; when a link on the way is
    turned, nothing is, and the old directory stays watched. So each poll should begin with a new
    `watch` of its path, and then end the one before; where the directory is the same, the kernel
    has no more work with it.

    Thread-safe. One daemon thread, which is there while something is watched, tells of all
    directories: `quiet_seconds` after a change, and once for all that has changed meanwhile.
    """

    def __init__(
        self, quiet_seconds: float = 0.1, open_inotify: Callable[[], Inotify] = Inotify
    ) -> None:
        self._quiet_seconds = quiet_seconds
        self._open_inotify = open_inotify
        self._lock = threading.Lock()
        self._inotify: Inotify | None = None
        self._watches: dict[int, list[_Watch]] = {}
        self._is_closed = False

    def watch(self, path: str, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after each change of the directory `path` from here on. Returns the
        function that ends this; a call under way may still come after it.

        `changed` must be quick. Where the directory cannot be watched, nothing happens. It is
        looked up by the calling thread, which may hang as in any look at that mount, and keeps no
        other directory waiting: call this where the mount is polled.
        """
        try:
            watch = self._begin(path, changed)
        except (OSError, RuntimeError) as error:  # RuntimeError: the system has no thread for us
            _log.debug("Only polls find out about changes of %s: %s", path, error)
            return _nothing_to_end
        return partial(self._end, watch)

    def close(self) -> None:
        """Tell nothing more, and let the thread end. Returns at once."""
        with self._lock:
            self._is_closed = True
            self._watches = {}
            self._hang_up()

    def _begin(self, path: str, changed: Callable[[], None]) -> _Watch:
        inotify = self._opened()
        watch = _Watch(inotify.watch(path), path, changed)  # no lock is held: it may hang
        with self._lock:
            if self._inotify is inotify:  # else all has ended meanwhile
                self._watches.setdefault(watch.number, []).append(watch)
        return watch

    def _end(self, watch: _Watch) -> None:
        """Forget `watch`. The kernel's part, about a kilobyte, stays until the last one ends: to
        remove it could wait for the mount, and could hit a watch of the same directory that just
        begins.
        """
        with self._lock:
            others = [w for w in self._watches.pop(watch.number, ()) if w is not watch]
            if others:
                self._watches[watch.number] = others
            if not self._watches:
                self._hang_up()

    def _hang_up(self) -> None:
        """Let the thread end; another one begins with the next watch. The lock is held."""
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            inotify.hang_up()

    def _opened(self) -> Inotify:
        with self._lock:
            if self._is_closed:
                raise OSError(errno.ESHUTDOWN, "These DirectoryEvents are closed")
            if self._inotify is None:
                self._inotify = self._start()
            return self._inotify

    def _start(self) -> Inotify:
        inotify = self._open_inotify()
        name = "directory-events"
        try:
            threading.Thread(target=self._run, args=[inotify], name=name, daemon=True).start()
        except RuntimeError:
            inotify.hang_up()
            inotify.close()
            raise
        return inotify

    # The thread…

    def _run(self, inotify: Inotify) -> None:
        try:
            while (records := inotify.read(self._quiet_seconds)) is not None:
                self._tell(records)
        except OSError:
            _log.exception("From here on, only polls find out about changes of directories")
            self.close()
        finally:
            inotify.close()

    def _tell(self, records: Sequence[Record]) -> None:
        with self._lock:
            concerned = _concerned(records, self._watches)
            for record in records:
                if record.is_end:
                    self._watches.pop(record.number, None)
        for watch in concerned:
            try:
                watch.changed()
            except Exception:  # it is the failure of this listener alone
                _log.exception("The listener to changes of %s failed", watch.path)


def _concerned(records: Iterable[Record], watches: Mapping[int, Sequence[_Watch]]) -> list[_Watch]:
    """Those of `watches` that `records` tell of, each once; all of them where some are lost."""
    is_lossy = any(record.is_loss for record in records)
    numbers = watches.keys() if is_lossy else {record.number for record in records}
    return [watch for number in numbers for watch in watches.get(number, ())]


def _nothing_to_end() -> None:
    """Stand in for the end of a watch that did not begin."""
