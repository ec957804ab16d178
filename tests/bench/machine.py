"""What a benchmark's figures were measured on."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def machine_facts() -> dict[str, str]:
    """The processor, the system, the interpreter and the day."""
    return {
        "processor": _first("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _first(file: str, key: str) -> str:
    lines = Path(file).read_text().splitlines()
    found = next((line for line in lines if line.startswith(key)), ": ?")
    return found.partition(":")[2].strip()
