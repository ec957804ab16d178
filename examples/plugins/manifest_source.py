"""A Source of your own: the versions to serve are listed in a JSON file that a release job writes.

    {"mnist": {"1": "/exports/mnist/1", "2": "/exports/mnist/2"}, "words": {"7": "/exports/w/7"}}

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
        ValueError, TypeError, AttributeError: the text is no manifest, or lists a version twice.

    """
    manifest = json.loads(text)
    if not isinstance(manifest, Mapping):
        raise TypeError("a manifest is an object: {name: {version: path}}")
    return {name: _parse_versions(name, versions) for name, versions in manifest.items()}


def _parse_versions(name: str, versions: Mapping[str, str]) -> list[ServableData[StoragePath]]:
    # The path is the revision: a version that failed is tried again at once when it moves.
    parsed = [
        ServableData(ServableId(name, int(version)), StoragePath(path), revision=path)
        for version, path in versions.items()
    ]
    if len({data.id for data in parsed}) < len(parsed):
        raise ValueError(f"{name} has a version twice: {', '.join(versions)}")
    return parsed


class ManifestSource:
    """Reads `manifest` every `poll_seconds` on a thread of its own and states what it lists.

    A file that cannot be read, or makes no sense, changes nothing: the last good one stands. Names
    are independent: versions of one that the target refuses do not keep those of others from it.
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
        """Read the manifest once and emit every name in it, and those that were in it before."""
        assert self._target is not None, "connect the source first"
        try:
            versions = parse_manifest(self._manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("Keeping the last manifest; cannot use %s: %s", self._manifest, error)
            return
        self._names |= versions.keys()
        for name in sorted(self._names):
            try:
                self._target(name, versions.get(name, []))  # omission unloads
            except Exception:
                _log.exception("The versions of %s in %s were refused", name, self._manifest)

    def stop(self) -> None:
        """Read no more. `poll` by hand still does."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.poll()
            self._stopped.wait(self._poll_seconds)
