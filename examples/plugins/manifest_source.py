"""A Source of your own: the versions to serve are listed in a JSON file that a release job writes.

    {"mnist": {"1": "/exports/mnist/1", "2": "/exports/mnist/2"}, "vocabulary": {"7":
    "/exports/vocabulary/7"}}

Writing the file is deploying: what is in it is served, what is taken out of it is unloaded.
"""

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from modelserver.core import ServableData, ServableId, StoragePath, Target

_log = logging.getLogger(__name__)


def parse_manifest(text: str) -> dict[str, list[ServableData[StoragePath]]]:
    """Read a manifest: for each name the complete list of its versions.

    Raises:
        ValueError, TypeError, AttributeError: the text is no manifest.

    """
    manifest = json.loads(text)
    if not isinstance(manifest, Mapping):
        raise TypeError("a manifest is an object: {name: {version: path}}")
    return {
        name: [
            # The path is the revision: a version that failed is tried again at once when it moves.
            ServableData(ServableId(name, int(version)), StoragePath(path), revision=path)
            for version, path in versions.items()
        ]
        for name, versions in manifest.items()
    }


class ManifestSource:
    """Reads `manifest` every `poll_seconds` on a thread of its own and states what it lists.

    A file that cannot be read, or makes no sense, changes nothing: the last good one stands.
    """

    def __init__(self, manifest: Path, poll_seconds: float = 1.0) -> None:
        self._manifest = manifest
        self._poll_seconds = poll_seconds
        self._target: Target[StoragePath] | None = None
        self._names: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="manifest-source", daemon=True)

    def set_aspired_versions_callback(self, callback: Target[StoragePath]) -> None:
        """Start reading, and emit to `callback`."""
        self._target = callback
        self._thread.start()

    def poll(self) -> None:
        """Read the manifest once and emit every name in it, and those that have gone from it."""
        assert self._target is not None, "connect the source first"
        try:
            versions = parse_manifest(self._manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("Keeping the last manifest; cannot use %s: %s", self._manifest, error)
            return
        for name in self._names | versions.keys():
            self._target(name, versions.get(name, []))  # omission unloads
        self._names = set(versions)

    def stop(self) -> None:
        """Read no more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.poll()
            if self._stopped.wait(self._poll_seconds):
                return
