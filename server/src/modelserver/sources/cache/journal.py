"""Journal: which parts of a version are on the disk, so that a fetch that was killed goes on."""

import json
import threading
from collections.abc import Iterable

from modelserver.sources.cache.parts import Part


class Journal:
    """A file that grows by a line for each finished part. Thread-safe.

    `parts` has the CRC32C of each part that has been recorded. A line that was cut off by a crash
    counts as not written, and so does all that follows it.
    """

    def __init__(self, path: str) -> None:
        self.parts: dict[Part, int] = {}
        self._lock = threading.Lock()
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115  # open as long as the journal
        self._file.seek(0)
        self._file.truncate(self._read(self._file.readall().splitlines(keepends=True)))

    def record(self, part: Part, crc: int) -> None:
        """Note that `part` is written."""
        with self._lock:
            self._append([part.name, part.start, part.stop, crc])
            self.parts[part] = crc

    def forget(self, name: str) -> None:
        """Note that no part of the file `name` can be trusted."""
        with self._lock:
            self._append([name])
            self._forget(name)

    def close(self) -> None:
        """Close the file, which stays."""
        self._file.close()

    def _append(self, entry: list[str | int]) -> None:
        line = f"{json.dumps(entry)}\n".encode()
        while line:  # a disk that is full takes the beginning, and refuses only what is left
            line = line[self._file.write(line) :]

    def _read(self, lines: Iterable[bytes]) -> int:
        """Take in the lines up to the first that is not whole; returns how many bytes they have."""
        size = 0
        for line in lines:
            if not self._take_in(line):
                break
            size += len(line)
        return size

    def _take_in(self, line: bytes) -> bool:
        if not line.endswith(b"\n"):
            return False
        try:
            name, *rest = _list_in(line)
            if rest:
                start, stop, crc = rest
                self.parts[Part(str(name), int(start), int(stop))] = int(crc)
            else:
                self._forget(str(name))
        except (ValueError, TypeError):
            return False
        return True

    def _forget(self, name: str) -> None:
        self.parts = {part: crc for part, crc in self.parts.items() if part.name != name}


def _list_in(line: bytes) -> list[str | int]:
    entry = json.loads(line)
    if not isinstance(entry, list):
        raise TypeError(f"{entry!r} is no line of a journal")
    return entry
