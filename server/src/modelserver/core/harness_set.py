"""HarnessSet: the versions under management, and what others are shown of each. No I/O, no thread.

Theory of operation. A version has one *current* harness. When its number is found somewhere else,
where it is another version, the harness is superseded: it becomes a *predecessor*, which is not
aspired any more, and a new harness is current. The policy sees both, under one id, and decides
which goes first; meanwhile whichever is READY serves. Outside, a version has one state: that of the
copy that serves, as long as one does.
"""

from types import MappingProxyType

from modelserver.core.harness import HarnessState, LoaderHarness
from modelserver.core.state import ManagerState

_SHOWN_AS = MappingProxyType(
    {
        HarnessState.NEW: ManagerState.START,
        HarnessState.LOADING: ManagerState.LOADING,
        HarnessState.RETRY_WAIT: ManagerState.LOADING,
        HarnessState.ERROR: ManagerState.END,
    }
)


class HarnessSet:
    """Every harness of one manager. For the manager thread."""

    def __init__(self) -> None:
        self._current: dict[str, dict[int, LoaderHarness]] = {}
        self._predecessors: dict[str, list[LoaderHarness]] = {}

    def names(self) -> list[str]:
        """Every name that has a harness."""
        return list(self._current.keys() | self._predecessors.keys())

    def current(self, name: str) -> dict[int, LoaderHarness]:
        """The current harness of each version. A copy; the harnesses are not."""
        return dict(self._current.get(name, {}))

    def predecessors(self, name: str) -> list[LoaderHarness]:
        """The harnesses whose number another has now. A copy; the harnesses are not."""
        return list(self._predecessors.get(name, ()))

    def add(self, harness: LoaderHarness) -> None:
        """Make `harness` the current one of its version, which has none."""
        self._current.setdefault(harness.id.name, {})[harness.id.version] = harness

    def supersede(self, harness: LoaderHarness) -> None:
        """Make a current harness a predecessor."""
        self._drop_current(harness)
        self._predecessors.setdefault(harness.id.name, []).append(harness)

    def discard(self, harness: LoaderHarness) -> None:
        """Forget a harness."""
        if self._is_current(harness):
            self._drop_current(harness)
            return
        predecessors = self._predecessors[harness.id.name]
        predecessors.remove(harness)
        if not predecessors:
            del self._predecessors[harness.id.name]

    def shown(
        self, harness: LoaderHarness, state: ManagerState
    ) -> tuple[LoaderHarness, ManagerState] | None:
        """Whose state others are shown, and which, when `harness` gets to `state`; None where that
        changes nothing for them.
        """
        others = self._others(harness)
        if not others or state is ManagerState.AVAILABLE:
            return harness, state
        if any(other.state is HarnessState.READY for other in others):
            has_failed = self._is_current(harness) and harness.error is not None
            return (harness, ManagerState.AVAILABLE) if has_failed else None
        if self._is_current(harness) or state is ManagerState.UNLOADING:
            return harness, state
        return self._shown_instead(harness)

    def _shown_instead(self, gone: LoaderHarness) -> tuple[LoaderHarness, ManagerState] | None:
        current = self._current.get(gone.id.name, {}).get(gone.id.version)
        if current is None or current.state not in _SHOWN_AS:
            return None
        return current, _SHOWN_AS[current.state]

    def _others(self, harness: LoaderHarness) -> list[LoaderHarness]:
        name, version = harness.id.name, harness.id.version
        current = self._current.get(name, {}).get(version)
        same = [h for h in self._predecessors.get(name, ()) if h.id.version == version]
        return [h for h in (current, *same) if h is not None and h is not harness]

    def _is_current(self, harness: LoaderHarness) -> bool:
        return self._current.get(harness.id.name, {}).get(harness.id.version) is harness

    def _drop_current(self, harness: LoaderHarness) -> None:
        versions = self._current[harness.id.name]
        del versions[harness.id.version]
        if not versions:
            del self._current[harness.id.name]
