"""The admin port: what a server says of itself over HTTP, to probes, an operator, Prometheus and
people.

`snapshot` has the values that everything is built from; `report`, `page`, `readiness` and
`liveness` are pure functions of them; `http_server` is the only importer of aiohttp. Nothing here
waits for a model, a storage or a call: the port answers whatever else hangs.
"""

from modelserver.admin.echo import Echo
from modelserver.admin.http_server import AdminPages, AdminServer
from modelserver.admin.liveness import describe_wedged
from modelserver.admin.readiness import Readiness
from modelserver.admin.report import Report, build_report
from modelserver.admin.snapshot import (
    ConfigError,
    ConfigSnapshot,
    ModelSnapshot,
    ServerSnapshot,
    SourceSnapshot,
)

__all__ = [
    "AdminPages",
    "AdminServer",
    "ConfigError",
    "ConfigSnapshot",
    "Echo",
    "ModelSnapshot",
    "Readiness",
    "Report",
    "ServerSnapshot",
    "SourceSnapshot",
    "build_report",
    "describe_wedged",
]
