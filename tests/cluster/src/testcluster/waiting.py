"""Wait for a condition of something outside this process, by asking again."""

import time
from collections.abc import Callable

from testcluster.errors import ClusterError

_PAUSE_SECONDS = 0.05


def wait_until(
    holds: Callable[[], bool],
    what: str,
    seconds: float = 120.0,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Return when `holds()`; raise ClusterError naming `what` after so many seconds.

    `check()` is called between the tries and raises when waiting has no sense any more.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        check()
        if time.monotonic() > deadline:
            raise ClusterError(f"Waited {seconds:.0f} s in vain for {what}")
        time.sleep(_PAUSE_SECONDS)
