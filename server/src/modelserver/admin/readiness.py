"""Readiness: whether traffic may come here. It waits at the start only, then latches."""

from modelserver.admin.snapshot import ServerSnapshot


class Readiness:
    """Decides what `/readyz` says. Thread-safe.

    A server is ready once its configuration is in force, its port is open, and every model that
    is awaited has a version that answers. From then on it stays ready, whatever becomes of its
    models, until it drains: a model that goes bad must not take the traffic of the others away.
    """

    def __init__(self) -> None:
        self._has_been_ready = False

    def why_not(self, snapshot: ServerSnapshot) -> str:
        """Say in one line what keeps the server from being ready; empty if it is."""
        if snapshot.is_draining:
            return "draining: the server is stopping"
        reason = "" if self._has_been_ready else awaits(snapshot)
        if not reason:  # never back, also not by a thread that looked earlier
            self._has_been_ready = True
        return reason


def awaits(snapshot: ServerSnapshot) -> str:
    """Say what a server that starts is still waiting for; empty when it is nothing."""
    if not snapshot.is_configured:
        error = snapshot.config.error
        return f"no configuration yet: {error.message}" if error else "no configuration yet"
    if not snapshot.is_accepting:
        return "starting: the gRPC port is not open yet"
    missing = [m.name for m in snapshot.models if m.is_awaited and not m.is_available]
    return f"waiting for a version of: {', '.join(missing)}" if missing else ""
