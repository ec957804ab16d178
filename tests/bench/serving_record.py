"""What the comparison of model servers writes down."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from serving_load import Outcome


@dataclass(frozen=True, slots=True)
class Record:
    """One measurement, or the reason why there is none. `models` is how many were loaded,
    `versions` how many there are of each.
    """

    round: int
    peer: str
    model: str
    load: str
    scale: str = ""
    rows: int = 1
    models: int = 1
    versions: int = 1
    request_bytes: int = 0
    outcome: Outcome | None = None
    reason: str = ""


@dataclass(slots=True)
class Report:
    """What is written as JSON to `file`: the machine, the versions, the measurements, and which
    peers could not be installed, with the reason. `seconds` is how long a load lasted.
    """

    file: Path
    machine: dict[str, str]
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Add a measurement, and write all there is so far."""
        self.records.append(record)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = asdict(self) | {"file": self.file.name}
        self.file.write_text(json.dumps(content, indent=1))

    @property
    def failures(self) -> list[Record]:
        """Measurements with answers that were wrong or missing."""
        return [record for record in self.records if record.outcome and record.outcome.failures]
