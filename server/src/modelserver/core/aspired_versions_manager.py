"""AspiredVersionsManager: decides when what is loaded and unloaded, by a policy over the aspired
versions.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from modelserver.clock import Clock, SystemClock
from modelserver.core.basic_manager import BasicManager, Executor, next_due
from modelserver.core.handle import ServableHandle
from modelserver.core.harness import HarnessState, LoaderHarness, RetryOptions
from modelserver.core.load_executor import LoadExecutor
from modelserver.core.loader import Loader
from modelserver.core.monitor import ServableStateMonitor
from modelserver.core.policy import (
    Action,
    AspiredServableStateSnapshot,
    AspiredVersionPolicy,
    ServableAction,
    availability_preserving,
)
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.errors import InvalidArgumentError

_log = logging.getLogger(__name__)

_FORGETTABLE = frozenset({HarnessState.NEW, HarnessState.DISABLED, HarnessState.ERROR})
_PAUSE_AFTER_BUG_SECONDS = 1.0
_FAILED = frozenset({HarnessState.RETRY_WAIT, HarnessState.ERROR})


@dataclass(frozen=True, slots=True)
class ManagerOptions:
    """Options of an `AspiredVersionsManager`. Thread counts below 1 mean 1: nothing ever loads on
    the manager thread.
    """

    num_load_threads: int = 1
    num_unload_threads: int = 1
    retry: RetryOptions = field(default_factory=RetryOptions)


class AspiredVersionsManager:
    """A `Manager` and a `Target`: loads the versions it is told are aspired, unloads the others,
    hands out handles.

    Contracts, for sources (all methods are thread-safe):

    - OMISSION UNLOADS. A version left out of the newest list of its name is unloaded, as the policy
      sees fit.
    - THE LAST SET WINS. Lists are idempotent and handled asynchronously; of several pending for a
      name only the newest counts.
    - NOTHING UNLOADS UNASKED. A version that is aspired stays.
    - NAMES ARE INDEPENDENT, and so are versions: a long request delays the unload of its own
      version, nothing else.
    - ONE LIFE. `load` and `unload` of a Loader never overlap; each successful load is unloaded
      once.

    One manager thread runs `step` whenever something happened: a list came, a load or unload ended,
    a last handle was released, a retry is due. There is no tick. Without `start`, call `step`
    yourself: that is how tests drive it.
    """

    def __init__(
        self,
        policy: AspiredVersionPolicy = availability_preserving,
        options: ManagerOptions | None = None,
        *,
        monitor: ServableStateMonitor | None = None,
        clock: Clock | None = None,
        executors: tuple[Executor, Executor] | None = None,
    ) -> None:
        options = options or ManagerOptions()
        self._clock = clock or SystemClock()
        self.monitor = monitor or ServableStateMonitor(self._clock)
        self._default_policy = policy
        self._policies: dict[str, AspiredVersionPolicy] = {}
        self._own_executors: list[LoadExecutor] = []
        load_executor, unload_executor = executors or self._make_executors(options)
        self._basic = BasicManager(
            publish=self.monitor.publish,
            load_executor=load_executor,
            unload_executor=unload_executor,
            retry=options.retry,
            clock=self._clock,
            wake=self._wake,
        )
        self._aspired: dict[str, dict[int, ServableData[Loader]]] = {}
        self._stepping = threading.Lock()
        self._inbox = threading.Condition()
        self._pending_versions: dict[str, dict[int, ServableData[Loader]]] = {}
        self._pending_labels: dict[str, dict[str, int]] = {}
        self._stop_hooks: list[Callable[[], object]] = []
        self._has_news = False
        self._busy_since: float | None = None
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    # For sources…

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Loader]]) -> None:
        """State the complete list of versions aspired for `name`. Returns at once; this method is
        the manager's Target.

        Raises:
            InvalidArgumentError: an id of another name, a version that is no whole number or is
                listed twice. The old list stands.

        """
        by_version = {data.id.version: data for data in versions}
        if not all(isinstance(version, int) for version in by_version):
            raise InvalidArgumentError(f"Versions of {name} must be whole numbers: {versions}")
        if any(data.id.name != name for data in versions):
            raise InvalidArgumentError(f"Aspired versions of {name} name another: {versions}")
        if len(by_version) != len(versions):
            raise InvalidArgumentError(f"Aspired versions of {name} list one twice: {versions}")
        with self._inbox:
            self._pending_versions[name] = by_version
        self._wake()

    def set_version_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Replace the labels of `name`.

        A label that points somewhere moves to its new version when that is AVAILABLE, and stays put
        until then. A new one points at its version at once, and finds nothing until then.
        """
        with self._inbox:
            self._pending_labels[name] = dict(labels)
        self._wake()

    def version_labels(self, name: str) -> Mapping[str, int]:
        """Where the labels of `name` point at present, which may not be where they are to go."""
        return self._basic.labels(name)

    def set_policy(self, name: str, policy: AspiredVersionPolicy) -> None:
        """Use `policy` for `name` from the next decision on, instead of the manager's."""
        with self._inbox:
            self._policies = {**self._policies, name: policy}
        self._wake()

    # For requests…

    def list_available_servable_ids(self) -> list[ServableId]:
        """Every version that handles can be had of, sorted."""
        return self._basic.list_available_servable_ids()

    def get_servable_handle(self, request: ServableRequest) -> ServableHandle[Any]:
        """Claim the version that `request` means; see `modelserver.core.manager.Manager`."""
        return self._basic.get_servable_handle(request)

    def get_available_servable_handles(self) -> dict[ServableId, ServableHandle[Any]]:
        """Claim every available version. The caller releases each handle."""
        return self._basic.get_available_servable_handles()

    # Running…

    def start(self) -> None:
        """Start the manager thread, unless it runs already."""
        if self._thread is not None:
            return
        name = "aspired-versions-manager"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add_stop_hook(self, hook: Callable[[], object]) -> None:
        """Call `hook` first in `stop`: for a source that lives and dies with this manager."""
        self._stop_hooks.append(hook)

    def stop(self, timeout: float | None = None) -> bool:
        """Unload everything, then end the manager thread and the load and unload threads.

        Waits up to `timeout` seconds for handles still held and for running loads and unloads.
        Returns whether everything was unloaded in time; if not, call it again to wait on. Lists
        that come later have no effect.
        """
        while self._stop_hooks:
            _run_hook(self._stop_hooks.pop())
        with self._inbox:
            self._is_stopping = True
        self.start()  # if nobody has: unloading needs the thread
        self._wake()
        assert self._thread is not None
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        for executor in self._own_executors:
            executor.shutdown()
        return True

    def __enter__(self) -> "AspiredVersionsManager":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def step(self) -> bool:
        """Apply what has happened, then let the policies act until they have nothing left to do.

        Never waits. Returns whether more has happened meanwhile, so that another step is due.
        Callers other than the manager thread are tests.
        """
        with self._stepping:
            self._basic.apply_events()
            self._take_pending()
            self._reconcile_all()
            for name in self._basic.names():
                self._act(name)
        return self._basic.has_events or bool(self._pending_versions or self._pending_labels)

    def _make_executors(self, options: ManagerOptions) -> tuple[Executor, Executor]:
        load = LoadExecutor(max(1, options.num_load_threads), "load", self._clock)
        unload = LoadExecutor(max(1, options.num_unload_threads), "unload", self._clock)
        self._own_executors = [load, unload]
        return load, unload

    def busy_seconds(self) -> float:
        """For how long the manager thread has been at something: a fraction of a second, if it is
        well. Infinity once the thread has died.
        """
        thread, since = self._thread, self._busy_since
        if thread is not None and not thread.is_alive() and not self._is_stopping:
            return math.inf
        return 0.0 if since is None else self._clock.monotonic() - since

    def _wake(self) -> None:
        with self._inbox:
            self._has_news = True
            if self._busy_since is None and self._thread is not None:
                self._busy_since = self._clock.monotonic()
            self._inbox.notify_all()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            try:
                is_over = self._wait_and_step()
            except Exception:  # a bug of ours or of a plug-in must not end all transitions
                _log.exception("The manager failed; it goes on in %g s", _PAUSE_AFTER_BUG_SECONDS)
                with self._inbox:
                    self._has_news = True
                    self._clock.wait(self._inbox, _PAUSE_AFTER_BUG_SECONDS)

    def _wait_and_step(self) -> bool:
        """Wait until something happened or is due, and step. Returns whether all is unloaded."""
        with self._inbox:
            while not self._has_news and (left := self._seconds_to_next_due()) != 0.0:
                self._clock.wait(self._inbox, left)
            self._has_news = False
            self._busy_since = self._clock.monotonic()
            is_stopping = self._is_stopping
        self.step()
        with self._inbox:
            self._busy_since = self._clock.monotonic() if self._has_news else None
        return is_stopping and not self._basic.names()

    def _seconds_to_next_due(self) -> float | None:
        names = self._basic.names()
        due = next_due([h for name in names for h in self._basic.harnesses(name).values()])
        return None if due is None else max(0.0, due - self._clock.monotonic())

    def _take_pending(self) -> None:
        with self._inbox:
            versions, self._pending_versions = self._pending_versions, {}
            labels, self._pending_labels = self._pending_labels, {}
            if self._is_stopping:
                versions = {name: {} for name in [*self._aspired, *self._basic.names()]}
        self._aspired |= versions
        for name, by_label in labels.items():
            self._basic.set_labels(name, by_label)

    # Reconciling the aspired set with the harnesses: no policy here, only bookkeeping.

    def _reconcile_all(self) -> None:
        for name in {*self._aspired, *self._basic.names()}:
            aspired = self._aspired.get(name, {})
            for version, harness in self._basic.harnesses(name).items():
                self._reconcile(harness, aspired.get(version))
            for harness in self._basic.predecessors(name):
                if harness.state in _FORGETTABLE:
                    self._basic.stop_managing(harness)
            self._basic.manage(aspired[v] for v in sorted(aspired.keys() - self._managed(name)))
            if not aspired:
                self._aspired.pop(name, None)

    def _managed(self, name: str) -> set[int]:
        return set(self._basic.harnesses(name))

    def _reconcile(self, harness: LoaderHarness, aspired: ServableData[Loader] | None) -> None:
        harness.is_aspired = aspired is not None
        if aspired is not None and aspired.origin != harness.origin:
            self._basic.supersede(harness)
            return
        if aspired is None:
            if harness.state is HarnessState.RETRY_WAIT:
                self._basic.cancel_retry(harness)
            if harness.state in _FORGETTABLE:
                self._basic.stop_managing(harness)
            return
        if harness.state is HarnessState.DISABLED:  # aspired again while it was leaving
            self._basic.stop_managing(harness)
        elif harness.state in _FAILED:
            self._retry_if_due(harness, aspired)

    def _retry_if_due(self, harness: LoaderHarness, aspired: ServableData[Loader]) -> None:
        if harness.offer(aspired):
            _log.info("Servable %s has changed since it failed to load: retrying", harness.id)
        if harness.due is not None and harness.due <= self._clock.monotonic():
            self._basic.retry(harness)

    # Acting on the policy's word.

    def _act(self, name: str) -> None:
        while (action := self._decide(name)) is not None:
            kind, harness = action
            _log.debug("Taking action: %s %s", kind.value, harness.id)
            if kind is Action.LOAD:
                self._basic.load(harness)
            else:
                self._basic.unload(harness)

    def _decide(self, name: str) -> tuple[Action, LoaderHarness] | None:
        """What the policy wants done next, and with which harness."""
        harnesses = [*self._basic.harnesses(name).values(), *self._basic.predecessors(name)]
        snapshot = [AspiredServableStateSnapshot(h.id, h.state, h.is_aspired) for h in harnesses]
        policy = self._policies.get(name, self._default_policy)
        try:
            action = policy(snapshot)
            harness = None if action is None else _find_fit(action, harnesses)
        except Exception:
            _log.exception("The version policy of %s failed; nothing is loaded or unloaded", name)
            return None
        if action is not None and harness is None:
            _log.error("The version policy of %s asks for the impossible: %s", name, action)
        return None if action is None or harness is None else (action.action, harness)


def _find_fit(action: ServableAction, harnesses: Sequence[LoaderHarness]) -> LoaderHarness | None:
    """The one of `harnesses` with which `action` is possible."""
    candidates = [harness for harness in harnesses if harness.id == action.id]
    if action.action is Action.LOAD:
        return next((h for h in candidates if h.state is HarnessState.NEW), None)
    surplus = (h for h in candidates if h.state is HarnessState.READY and not h.is_aspired)
    return next(surplus, None)


def _run_hook(hook: Callable[[], object]) -> None:
    try:
        hook()
    except Exception:
        _log.exception("A stop hook failed; stopping goes on")
