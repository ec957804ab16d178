"""ConfigWatch: follows a configuration file."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from modelserver.clock import Clock, SystemClock
from modelserver.config import FollowedFile, ParsedT
from modelserver.sources.poller import Poller, PollInterval

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """What became of the file's content.

    `hash` is that of the content in force, empty before the first. `error` says why what is there
    now is not, and is empty where it is; `refused_hash` is the hash of that, empty where it could
    not be read.
    """

    hash: str = ""
    refused_hash: str = ""
    error: str = ""


class ConfigWatch(Generic[ParsedT]):
    """Reads a file again and again, and gives `apply` each new content that can be understood.

    The content is compared, not its time: a mounted ConfigMap is swapped by links. Content that is
    missing, half written or wrong changes nothing: what was applied last stands, and `status` says
    what is wrong. `poll` looks once; `start` has a thread do so from then on. `apply` is called by
    one thread at a time. Where it raises, the content counts as refused.
    """

    def __init__(
        self,
        file: FollowedFile[ParsedT],
        apply: Callable[[ParsedT], None],
        clock: Clock | None = None,
    ) -> None:
        self.status = ConfigStatus()
        """Replaced as a whole, so that any thread may read it."""
        self._file = file
        self._apply = apply
        self._in_force: bytes | None = None
        self._refused: bytes | None = None
        self._poller = Poller(
            "config", self._look, PollInterval(file.poll_seconds), clock or SystemClock()
        )

    @property
    def has_applied(self) -> bool:
        """Whether some content is in force."""
        return self._in_force is not None

    def start(self) -> None:
        """Look from now on, on a thread of its own."""
        self._poller.start(poll_first=False)

    def stop(self, timeout: float = 5.0) -> bool:
        """Look no more. Whether a look under way has ended within `timeout` seconds."""
        self._poller.stop()
        return self._poller.join(timeout)

    def poll(self) -> None:
        """Look once. Never raises."""
        try:
            content = self._file.path.read_bytes()
        except OSError as error:
            self._refused = None
            self._refuse("", f"Cannot read {self._file.path}: {error.strerror or error}")
            return
        if content == self._in_force:
            self._accept(content)
        elif content != self._refused:
            self._take(content)

    def _look(self) -> bool:
        self.poll()
        return True

    def _take(self, content: bytes) -> None:
        try:
            self._apply(self._file.parse(content))
        except Exception as error:
            self._refused = content
            self._refuse(hash_of(content), str(error) or repr(error))
        else:
            self._in_force = content
            self._accept(content)

    def _accept(self, content: bytes) -> None:
        self._refused = None
        status = ConfigStatus(hash_of(content))
        if status != self.status:
            _log.info("Configuration %s (%s) is in force", status.hash, self._file.path)
            self.status = status

    def _refuse(self, refused_hash: str, message: str) -> None:
        status = ConfigStatus(self.status.hash, refused_hash, message)
        if status != self.status:
            _log.error("%s; what was configured before stands", message)
            self.status = status


def hash_of(content: bytes) -> str:
    """The name of a configuration, that whoever wrote it computes too: 16 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:16]
