"""The nouns and the manager: which versions are wanted, loading and unloading them, handing them to
requests.

Standard library only. No file is read here, no socket opened and no model run: sources, platforms
and edges do that, and they depend on this package, never the reverse.
"""

from modelserver.core.aspired_versions_manager import AspiredVersionsManager, ManagerOptions
from modelserver.core.basic_manager import BasicManager
from modelserver.core.handle import ServableHandle
from modelserver.core.harness import HarnessState, LoaderHarness, RetryOptions
from modelserver.core.loader import Loader
from modelserver.core.manager import Manager
from modelserver.core.monitor import ServableStateMonitor, WaitResult
from modelserver.core.policy import (
    Action,
    AspiredServableStateSnapshot,
    AspiredVersionPolicy,
    ServableAction,
    availability_preserving,
    resource_preserving,
)
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.core.source import Source, SourceAdapter, Target, connect
from modelserver.core.state import ManagerState, ServableState
from modelserver.core.storage_path import FileInfo, StoragePath

__all__ = [
    "Action",
    "AspiredServableStateSnapshot",
    "AspiredVersionPolicy",
    "AspiredVersionsManager",
    "BasicManager",
    "FileInfo",
    "HarnessState",
    "Loader",
    "LoaderHarness",
    "Manager",
    "ManagerOptions",
    "ManagerState",
    "RetryOptions",
    "ServableAction",
    "ServableData",
    "ServableHandle",
    "ServableId",
    "ServableRequest",
    "ServableState",
    "ServableStateMonitor",
    "Source",
    "SourceAdapter",
    "StoragePath",
    "Target",
    "WaitResult",
    "availability_preserving",
    "connect",
    "resource_preserving",
]
