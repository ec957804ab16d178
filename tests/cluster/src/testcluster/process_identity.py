"""Name a process so that nobody else's is ever meant: by pid and start time."""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, for as long as this machine runs. Pids are given again, start times are not.

    `start_time` is in clock ticks since boot, field 22 of /proc/PID/stat.
    """

    pid: int
    start_time: int

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity":
        """ProcessLookupError where there is none, or it has ended and only waits for its parent."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            raise ProcessLookupError(f"no process {pid}") from None
        if has_ended(stat):
            raise ProcessLookupError(f"process {pid} has ended")
        return cls(pid, start_time(stat))

    @classmethod
    def parse(cls, text: str) -> "ProcessIdentity":
        """The reverse of str()."""
        pid, ticks = text.split(":")
        return cls(int(pid), int(ticks))

    def __str__(self) -> str:
        return f"{self.pid}:{self.start_time}"

    def is_alive(self) -> bool:
        try:
            return ProcessIdentity.of(self.pid) == self
        except ProcessLookupError:
            return False

    def open(self) -> int:
        """A pidfd, readable at the process's end; close it. ProcessLookupError if it is gone."""
        descriptor = os.pidfd_open(self.pid)
        # Looked at after opening: the descriptor stays with the process that was checked.
        if self.is_alive():
            return descriptor
        os.close(descriptor)
        raise ProcessLookupError(f"process {self} has ended")

    def end(self, number: signal.Signals, seconds: float) -> bool:
        """Send the signal and wait for the end, at most so long. True when the process is gone."""
        try:
            descriptor = self.open()
        except ProcessLookupError:
            return True
        try:
            signal.pidfd_send_signal(descriptor, number)
            return bool(select.select([descriptor], [], [], seconds)[0])
        except ProcessLookupError:
            return True
        finally:
            os.close(descriptor)


def start_time(stat: str) -> int:
    """Field 22 of /proc/PID/stat. The second, the name, may hold spaces and parentheses."""
    return int(_after_name(stat)[19])


def has_ended(stat: str) -> bool:
    return _after_name(stat)[0] in "ZX"


def _after_name(stat: str) -> list[str]:
    return stat.rpartition(")")[2].split()
