"""StoredVersion: where a version's files are kept, and how far they are here. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far a version is that must be copied here before it can be loaded.

    `size_here` bytes are on the disk, and more come at `bytes_per_second` on average over the
    present try; `failures` tries came to nothing. A version that `is_here` `was_kept` if it was in
    the cache all along and not a byte of it had to be received.
    """

    is_here: bool = False
    was_kept: bool = False
    size_here: int = 0
    bytes_per_second: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """The files of a version as they were listed last: how many, and their `size` in bytes.

    `uri` is where they are, and empty where they are loaded from where they are; `transfer` is None
    where nothing is copied, or not any more.
    """

    size: int
    files: int
    uri: str = ""
    transfer: Transfer | None = None

    @property
    def download(self) -> Transfer | None:
        """How far the download is that is under way, or waits; None where there is none."""
        return None if self.transfer is None or self.transfer.is_here else self.transfer
