"""ServableStateMonitor: remembers the state of every version, tells subscribers, and lets callers
wait for a state.
"""

import logging
import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from modelserver.clock import Clock, SystemClock
from modelserver.core.servable import ServableId, ServableRequest
from modelserver.core.state import HeldBack, ManagerState, ServableState
from modelserver.errors import InvalidArgumentError

_log = logging.getLogger(__name__)

Subscriber: TypeAlias = Callable[[ServableState], None]
"""Called with each published state, outside all locks, on the publishing thread; must be quick. The
states of a version under management come in order; those of versions held back, from the source's
threads, may come beside them."""

MAX_ENDED_VERSIONS = 20
"""How many versions of one name are remembered after END. The reference keeps them for ever."""


@dataclass(frozen=True, slots=True)
class WaitResult:
    """What `wait_until_reached` found.

    `reached` has the requests that got to the goal, with the version that did; `failed` those whose
    versions all ended first, with the state of the highest; `pending` those that were neither there
    nor ended when time ran out.
    """

    reached: Mapping[ServableRequest, ServableId]
    failed: Mapping[ServableRequest, ServableState]
    pending: frozenset[ServableRequest]

    @property
    def is_success(self) -> bool:
        """Whether every request reached the goal."""
        return not self.failed and not self.pending


class ServableStateMonitor:
    """The published states of all versions of one manager. Thread-safe; readers never wait for
    subscribers.

    The manager publishes through `publish`, the source tells of versions it holds back through
    `report_held_back`; nothing else writes.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._states: dict[str, dict[int, ServableState]] = {}
        self._subscribers: tuple[Subscriber, ...] = ()

    # Writing…

    def publish(self, state: ServableState) -> None:
        """Record `state`, stamped with its times, as the newest of its version and tell the
        subscribers.
        """
        with self._changed:
            versions = self._states.setdefault(state.id.name, {})
            state = _stamp(state, versions.get(state.id.version), self._clock.time())
            versions[state.id.version] = state
            _forget_oldest_ended(versions)
            self._changed.notify_all()
        for subscriber in self._subscribers:
            _tell(subscriber, state)

    def report_held_back(self, name: str, held_back: Mapping[int, HeldBack]) -> None:
        """State the complete set of versions of `name` that a source sees but holds back, with the
        reason of each.

        They show as START with that message and error. A version the manager already has keeps its
        own state; one that was held back and is left out now is forgotten.
        """
        with self._changed:
            known = self._states.get(name, {})
            news = [
                _held_back_state(ServableId(name, version), why)
                for version, why in held_back.items()
                if _may_show_as_held_back(known.get(version), why)
            ]
            for version in [v for v, s in known.items() if s.is_held_back and v not in held_back]:
                del known[version]
        for state in news:
            self.publish(state)

    # Reading…

    def get_state(self, id: ServableId) -> ServableState | None:
        """The newest state of one version, None if it was never heard of or is forgotten."""
        with self._changed:
            return self._states.get(id.name, {}).get(id.version)

    def loaded_revision(self, id: ServableId) -> Hashable:
        """Which content of an available version is loaded; None where it is not available."""
        state = self.get_state(id)
        return state.revision if state is not None and state.is_available else None

    def get_version_states(self, name: str) -> dict[int, ServableState]:
        """The newest state of every version of `name`, highest version first."""
        with self._changed:
            return dict(sorted(self._states.get(name, {}).items(), reverse=True))

    def get_all_states(self) -> dict[str, dict[int, ServableState]]:
        """The newest state of every version of every name."""
        with self._changed:
            names = sorted(self._states)
        return {name: self.get_version_states(name) for name in names}

    def get_live_states(self) -> dict[str, dict[int, ServableState]]:
        """As `get_all_states`, without the versions at END."""
        return {
            name: {v: s for v, s in versions.items() if s.manager_state is not ManagerState.END}
            for name, versions in self.get_all_states().items()
        }

    # Waiting and listening…

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every state published from now on. Returns the function that ends
        it.
        """
        with self._changed:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._changed:
                self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)

        return unsubscribe

    def wait_until_reached(
        self,
        requests: Collection[ServableRequest],
        goal: ManagerState = ManagerState.AVAILABLE,
        timeout: float | None = None,
    ) -> WaitResult:
        """Wait until every request has reached `goal` or END, or `timeout` seconds have passed.

        A request for an exact version waits for that version; one for the latest waits until *some*
        version of the name is at the goal, and counts as failed once versions are known and all of
        them are at END. What has been reached or has failed once stays so, though the version may
        have moved on when this returns.

        Raises:
            InvalidArgumentError: a request by label; what it means changes while one waits.

        """
        if any(request.label is not None for request in requests):
            raise InvalidArgumentError("Cannot wait for a label: wait for the version it names")
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        result = WaitResult({}, {}, frozenset(requests))
        with self._changed:
            while True:
                result = _judge(result, goal, self._states)
                left = None if deadline is None else deadline - self._clock.monotonic()
                if not result.pending or (left is not None and left <= 0):
                    return result
                self._clock.wait(self._changed, left)


def _stamp(state: ServableState, previous: ServableState | None, now: float) -> ServableState:
    """Give `state` its times: those of `previous` where they still hold."""
    loading_time = previous.loading_time if previous else None
    available_time = previous.available_time if previous else None
    if state.manager_state is ManagerState.LOADING:
        loading_time = now
    if state.manager_state in (ManagerState.START, ManagerState.LOADING):
        available_time = None
    elif state.is_available and (previous is None or not previous.is_available):
        available_time = now
    return replace(
        state,
        time=now,
        first_seen_time=previous.first_seen_time if previous else now,
        loading_time=loading_time,
        available_time=available_time,
    )


def _tell(subscriber: Subscriber, state: ServableState) -> None:
    try:
        subscriber(state)
    except Exception:
        _log.exception("A subscriber of the state monitor failed on %s", state)


def _held_back_state(id: ServableId, why: HeldBack) -> ServableState:
    return ServableState(
        id, ManagerState.START, why.error, why.message, 0.0, why.retry_time, is_coming=why.is_coming
    )


def _may_show_as_held_back(known: ServableState | None, why: HeldBack) -> bool:
    if known is None:
        return True
    if known.manager_state is ManagerState.END:
        return known.health is None  # a failed version keeps showing its error
    told = (known.message, known.is_coming, str(known.health), known.retry_time)
    return known.is_held_back and told != (
        why.message,
        why.is_coming,
        str(why.error),
        why.retry_time,
    )


def _forget_oldest_ended(versions: dict[int, ServableState]) -> None:
    ended = [s for s in versions.values() if s.manager_state is ManagerState.END]
    if len(ended) > MAX_ENDED_VERSIONS:
        del versions[min(ended, key=lambda state: state.time).id.version]


def _judge(
    so_far: WaitResult, goal: ManagerState, states: Mapping[str, Mapping[int, ServableState]]
) -> WaitResult:
    reached, failed = dict(so_far.reached), dict(so_far.failed)
    for request in so_far.pending:
        candidates = _candidates(request, states.get(request.name, {}))
        at_goal = [state for state in candidates if state.manager_state is goal]
        if at_goal:
            reached[request] = max(state.id for state in at_goal)
        elif candidates and all(state.manager_state is ManagerState.END for state in candidates):
            failed[request] = max(candidates, key=lambda state: state.id)
    return WaitResult(reached, failed, so_far.pending - reached.keys() - failed.keys())


def _candidates(
    request: ServableRequest, versions: Mapping[int, ServableState]
) -> list[ServableState]:
    if request.version is None:
        return list(versions.values())
    return [versions[request.version]] if request.version in versions else []
