"""Where versions come from: sources find out what should be loaded and tell a Target.

`StoragePathSource` polls a storage, `StaticSource` knows from the start. The decisions are in
`versions` (which numbers a policy wants) and `decision` (what one poll concludes), both pure; the
threads are in `poller`, the storages in `storage`. Nothing here opens a model: a platform's
`missing_files` says whether a version is complete.
"""

from modelserver.sources.monitored_servable import MonitoredServable
from modelserver.sources.static import StaticSource
from modelserver.sources.storage_path import StoragePathSource
from modelserver.sources.versions import All, Latest, ServableVersionPolicy, Specific
from modelserver.sources.watch import SourceStatus

__all__ = [
    "All",
    "Latest",
    "MonitoredServable",
    "ServableVersionPolicy",
    "SourceStatus",
    "Specific",
    "StaticSource",
    "StoragePathSource",
]
