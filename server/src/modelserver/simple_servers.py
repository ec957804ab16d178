"""Managers that are wired for you: a line to start with, before you need the parts."""

from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.source import connect
from modelserver.saved_model import platform, saved_model_source_adapter
from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.storage.file_system import FileSystemStorage
from modelserver.sources.storage_path import StoragePathSource

SERVABLE_NAME = "default"
"""The name under which the one model is asked for: `ServableRequest.latest(SERVABLE_NAME)`."""


def create_single_tf_model_manager_from_base_path(base_path: str) -> AspiredVersionsManager:
    """Watch `base_path` for numbered SavedModel versions and serve the newest complete one.

    Wires a `StoragePathSource` that polls once a second, the SavedModel adapter and an
    availability-preserving manager. The manager runs when this returns; the first version is loaded
    a little later: `manager.monitor.wait_until_reached` waits for it. The servable that a handle
    holds is a `modelserver.saved_model.SavedModelBundle`. `manager.stop()` ends everything.
    """
    manager = AspiredVersionsManager()
    models = platform({})
    monitored = MonitoredServable(
        SERVABLE_NAME, base_path, models.missing_files, must_settle=models.must_settle
    )
    source = StoragePathSource(
        FileSystemStorage(), [monitored], report_held_back=manager.monitor.report_held_back
    )
    manager.add_stop_hook(source.stop)
    manager.start()
    adapter = saved_model_source_adapter()
    connect(adapter, manager.set_aspired_versions)
    connect(source, adapter)
    return manager
