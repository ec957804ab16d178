"""Managers that are wired for you: a line to start with, before you need the parts."""

from functools import partial

from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.loader import Loader
from modelserver.core.source import SourceAdapter, connect
from modelserver.core.storage_path import StoragePath
from modelserver.ready_marker import missing_files_of
from modelserver.saved_model import platform
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.held_loader import HeldLoader
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.storage.router import StorageRouter, polling_of
from modelserver.sources.storage.stores import default_cache_directory, make_store
from modelserver.sources.storage_path import StoragePathSource

SERVABLE_NAME = "default"
"""The name under which the one model is asked for: `ServableRequest.latest(SERVABLE_NAME)`."""


def create_single_tf_model_manager_from_base_path(base_path: str) -> AspiredVersionsManager:
    """Watch `base_path` for numbered SavedModel versions and serve the newest complete one.

    `base_path` is a directory, or gs://BUCKET/PATH, whose versions are copied to the user's cache
    first. Wires a `StoragePathSource` that polls once a second (a bucket: every 30), the SavedModel
    platform and an availability-preserving manager. The manager runs when this returns; the first
    version is loaded a little later: `manager.monitor.wait_until_reached` waits for it. The
    servable that a handle holds is a `modelserver.saved_model.SavedModelBundle`. `manager.stop()`
    ends everything.
    """
    manager = AspiredVersionsManager()
    models = platform({})
    storage = StorageRouter(VersionCache(default_cache_directory()), make_store)
    polling = polling_of(base_path)
    monitored = MonitoredServable(
        SERVABLE_NAME,
        base_path,
        missing_files_of(models),
        poll_wait_seconds=polling.wait_seconds,
        must_settle=models.must_settle,
        poll_jitter=polling.jitter,
        relist_seconds=polling.relist_seconds,
    )
    source = StoragePathSource(
        storage,
        [monitored],
        report_held_back=manager.monitor.report_held_back,
        loaded_revision=manager.monitor.loaded_revision,
    )
    manager.add_stop_hook(source.stop)
    manager.add_stop_hook(storage.stop)
    manager.start()
    adapter: SourceAdapter[StoragePath, Loader] = SourceAdapter(
        lambda id, path: HeldLoader(models.make_loader(id, path), partial(storage.hold, path))
    )
    connect(adapter, manager.set_aspired_versions)
    connect(source, adapter)
    return manager
