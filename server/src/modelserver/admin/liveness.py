"""Liveness: whether the process is beyond help, so that only a restart can mend it. Pure."""

from collections.abc import Mapping

WEDGED_AFTER_SECONDS = 60.0
"""Well above what a large load may keep Python's lock for: a restart costs more than a pause."""


def describe_wedged(busy_seconds: Mapping[str, float]) -> str:
    """Say which parts have been at one thing for too long; empty if the process is well.

    `busy_seconds` has, by the name of each part that must always come back soon, for how long it
    has not; infinity for one that never will.
    """
    wedged = sorted(name for name, busy in busy_seconds.items() if busy >= WEDGED_AFTER_SECONDS)
    if not wedged:
        return ""
    return f"no sign of life for {WEDGED_AFTER_SECONDS:g} s from: {', '.join(wedged)}"
