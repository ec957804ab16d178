"""What a benchmark of the operator found: rows by phase, printed as tables and written as JSON."""

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One measured quantity."""

    name: str
    value: float
    unit: str


@dataclass(slots=True)
class Report:
    """Rows by phase, in the order in which they came."""

    about: dict[str, float]
    phases: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, phase: str, rows: list[Row]) -> None:
        """Add a phase, and print its table."""
        self.phases[phase] = rows
        width = max(len(row.name) for row in rows)
        print(phase)
        for row in rows:
            print(f"  {row.name:{width}}  {row.value:12,.2f} {row.unit}")
        print(flush=True)

    def write(self, file: Path) -> None:
        """Write it all as JSON."""
        machine = {
            "machine": platform.platform(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
        }
        phases = {
            phase: {row.name: {"value": row.value, "unit": row.unit} for row in rows}
            for phase, rows in self.phases.items()
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({**machine, **self.about, "phases": phases}, indent=1))
