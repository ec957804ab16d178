"""The server's way from a bucket to its loaders, in a process of its own and without TensorFlow.

    watched_upload.py gs://BUCKET/PATH CACHE

Looks for SavedModels as a server does, until there is one to be loaded. Writes JSON lines: what
each poll holds back, when that is news, and at last what a loader finds on the disk, and by how
many bytes the process has grown at most since it began to look.
"""

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelserver.core.servable import ServableData
from modelserver.core.state import HeldBack
from modelserver.core.storage_path import StoragePath
from modelserver.saved_model import platform
from modelserver.sources import MonitoredServable, StoragePathSource
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.storage.cached import CachedStorage
from modelserver.sources.storage.gcs import GcsStore

POLL_SECONDS = 0.2
_FORGET_PEAK = "5"  # proc(5), clear_refs


class Events:
    """Writes down what happens, once; `is_over` when something has been loaded."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        Path("/proc/self/clear_refs").write_text(_FORGET_PEAK)
        self._bytes_before = memory_bytes("VmHWM")
        self._told: object = None

    def hold_back(self, name: str, held_back: Mapping[int, HeldBack]) -> None:
        """Note what a poll holds back."""
        self._tell({"heldBack": {version: why.message for version, why in held_back.items()}})

    def load(self, name: str, versions: Sequence[ServableData[StoragePath]]) -> None:
        """Stand in for loaders: note what they would find."""
        for version in versions:
            self._tell({"loaded": version.id.version, **self._found(version.data)})
            self.is_over.set()

    def _found(self, version: StoragePath) -> Mapping[str, object]:
        folder = Path(version.path)
        files = (path for path in folder.rglob("*") if path.is_file())
        return {
            "sizes": {str(path.relative_to(folder)): path.stat().st_size for path in files},
            "grownBytes": memory_bytes("VmHWM") - self._bytes_before,
            "hasTensorFlow": "tensorflow" in sys.modules,
        }

    def _tell(self, event: Mapping[str, object]) -> None:
        if event != self._told:
            sys.stdout.write(f"{json.dumps(event)}\n")
            sys.stdout.flush()
        self._told = event


def memory_bytes(kind: str) -> int:
    """What /proc says of this process's memory: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) * 1024


def main(base_path: str, cache: str) -> None:
    """Watch until something has been loaded."""
    saved_models, storage = platform({}), CachedStorage(GcsStore(), VersionCache(Path(cache)))
    model = MonitoredServable(
        "m",
        base_path,
        saved_models.missing_files,
        poll_wait_seconds=POLL_SECONDS,
        must_settle=saved_models.must_settle,
    )
    events = Events()
    source = StoragePathSource(storage, [model], report_held_back=events.hold_back)
    source.set_aspired_versions_callback(events.load)
    events.is_over.wait()
    source.stop()
    storage.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
