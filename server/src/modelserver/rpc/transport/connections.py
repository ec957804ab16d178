"""Which connections a port has, as Linux lists them: gRPC does not say."""

from collections.abc import Iterable
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"


def count_connections(port: int) -> int | None:
    """How many clients are connected to a TCP port in this network namespace; None where the
    system does not tell.
    """
    try:
        return sum(count_established(table.read_text().splitlines(), port) for table in _TABLES)
    except OSError:
        return None


def count_established(lines: Iterable[str], port: int) -> int:
    """Count the established connections of a local port in a table of the format of
    `/proc/net/tcp`.
    """
    suffix = f":{port:04X}"
    rows = (line.split() for line in lines)
    return sum(len(row) > 3 and row[1].endswith(suffix) and row[3] == _ESTABLISHED for row in rows)
