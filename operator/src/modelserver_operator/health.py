"""Whether the process should live on: what a restart would mend. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from modelserver_operator.inventory import Inventory
from modelserver_operator.work_queue import QueueStatistics


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """How long, in seconds, something may go wrong before it counts as broken."""

    deaf_watch: float = 60.0
    silent_resync: float = 120.0
    waiting_work: float = 300.0


def troubles(
    inventories: Iterable[Inventory],
    queue: QueueStatistics,
    resync_beat_at: float,
    now: float,
    limits: HealthLimits,
) -> list[str]:
    """What is broken in a process that leads; nothing is, when it is empty.

    An API server that does not answer is no reason: a restart would not make it answer.
    """
    found = [
        f"the watch of {known.stream.resource.plural} delivers nothing though objects change"
        for known in inventories
        if known.deaf_since is not None and now - known.deaf_since > limits.deaf_watch
    ]
    if now - resync_beat_at > limits.silent_resync:
        found.append(f"nothing has been listed for {now - resync_beat_at:.0f} s")
    if queue.oldest_seconds > limits.waiting_work:
        found.append(f"a ModelServer has been waiting for {queue.oldest_seconds:.0f} s")
    return found
