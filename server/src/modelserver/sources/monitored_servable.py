"""MonitoredServable: one base path to watch, and what to make of what is found there."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from modelserver.core.storage_path import StoragePath
from modelserver.sources.versions import Latest, ServableVersionPolicy


def _always(name: str) -> bool:
    del name  # of nothing is known how to check it
    return True


@dataclass(frozen=True, slots=True)
class MonitoredServable:
    """The servable `name`, whose versions are the numbered directories under `base_path`.

    `missing_files` says what a version still lacks ([] = complete), and `must_settle` of which
    files it cannot tell; they are the platform's methods of these names. Without `must_settle`
    every file must settle. `poll_wait_seconds` > 0 is the time from one poll to the next; 0 polls
    once, at the start; below 0 never by itself. Without a next poll nothing settles: what looks
    complete is taken at once. `poll_jitter` is by how much that time varies, as a share of it;
    `relist_seconds` how long an available version's files are left unlisted at least. `platform`
    names what the versions are taken for. `refusal`, if not
    empty, says why the base path is not looked at: its polls fail with it, so that what was aspired
    before stands.
    """

    name: str
    base_path: str
    missing_files: Callable[[StoragePath], list[str]]
    version_policy: ServableVersionPolicy = field(default_factory=Latest)
    poll_wait_seconds: float = 1.0
    must_settle: Callable[[str], bool] = _always
    platform: str = ""
    refusal: str = ""
    poll_jitter: float = 0.0
    relist_seconds: float = 0.0

    @property
    def place(self) -> Hashable:
        """Where versions come from, and as what: the same number in another place is not the same
        version.
        """
        return self.base_path, self.platform

    def path_of(self, directory: str) -> str:
        """Where the version directory of that name is."""
        return f"{self.base_path.rstrip('/')}/{directory}"
