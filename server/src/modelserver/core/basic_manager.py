"""BasicManager: the mechanism. Loads and unloads what it is told to, and hands out handles. It
decides nothing.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from modelserver.clock import Clock, SystemClock
from modelserver.core.handle import ServableHandle
from modelserver.core.harness import HarnessEvent, HarnessState, LoaderHarness, RetryOptions
from modelserver.core.harness_set import HarnessSet
from modelserver.core.loader import Loader
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.core.serving_map import ServingMap, ServingVersion
from modelserver.core.state import ManagerState, ServableState
from modelserver.errors import CancelledError, ServingError, as_serving_error

_log = logging.getLogger(__name__)

_HOLDS_SOMETHING = frozenset(
    {HarnessState.LOADING, HarnessState.READY, HarnessState.QUIESCING, HarnessState.UNLOADING}
)


class Executor(Protocol):
    """Runs work on threads of its own: a `concurrent.futures.Executor`, or one of
    `modelserver.testing.executor`.
    """

    def submit(self, work: Callable[[], None]) -> object:
        """Queue `work`; it never raises."""


class BasicManager:
    """Keeps a harness for each version under management, and the map that requests look versions up
    in.

    `get_servable_handle` and its siblings are for any thread. Everything else is for one thread,
    the manager thread: executor threads and the last release of a handle only append an event and
    call `wake`, and the manager thread applies events with `apply_events`. So states are published
    by one thread, in order, and no lock is held while anything runs.
    """

    def __init__(
        self,
        *,
        publish: Callable[[ServableState], None],
        load_executor: Executor,
        unload_executor: Executor,
        retry: RetryOptions | None = None,
        clock: Clock | None = None,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._publish = publish
        self._load_executor = load_executor
        self._unload_executor = unload_executor
        self._retry = retry or RetryOptions()
        self._clock = clock or SystemClock()
        self._wake = wake
        self._harnesses = HarnessSet()
        self._loaded: dict[LoaderHarness, ServingVersion] = {}
        self._events: deque[Callable[[], None]] = deque()
        self._serving = ServingMap()

    # For requests, from any thread…

    def list_available_servable_ids(self) -> list[ServableId]:
        """Every version that handles can be had of, sorted."""
        return self._serving.ids()

    def get_servable_handle(self, request: ServableRequest) -> ServableHandle[Any]:
        """Claim the version that `request` means; see `modelserver.core.manager.Manager`."""
        return self._serving.acquire(request)

    def get_available_servable_handles(self) -> dict[ServableId, ServableHandle[Any]]:
        """Claim every available version. Versions that leave meanwhile are left out."""
        handles: dict[ServableId, ServableHandle[Any]] = {}
        for servable_id in self._serving.ids():
            try:
                request = ServableRequest.specific(servable_id.name, servable_id.version)
                handles[servable_id] = self._serving.acquire(request)
            except ServingError:  # it left between the list and the claim
                continue
        return handles

    # For the manager thread: what is managed…

    def names(self) -> list[str]:
        """Every name with at least one version under management."""
        return self._harnesses.names()

    def harnesses(self, name: str) -> dict[int, LoaderHarness]:
        """The current harnesses of one name, by version. A copy; the harnesses are not."""
        return self._harnesses.current(name)

    def predecessors(self, name: str) -> list[LoaderHarness]:
        """The harnesses of one name that have been superseded and still hold something."""
        return self._harnesses.predecessors(name)

    def manage(self, versions: Iterable[ServableData[Loader]]) -> None:
        """Take versions of one name under management, as NEW; those that the source reports an
        error of go to ERROR.

        START is published for all before END for any: whoever waits for one version of the name
        must not conclude from one failure that all have failed.
        """
        harnesses = [(LoaderHarness(data, self._retry), data.error) for data in versions]
        for harness, _ in harnesses:
            self._harnesses.add(harness)
            self._publish_state(harness, ManagerState.START)
        for harness, error in harnesses:
            if error is not None:
                self._give_up(harness, error)

    def stop_managing(self, harness: LoaderHarness) -> None:
        """Forget a version that holds nothing: NEW, DISABLED or ERROR."""
        if harness.state is HarnessState.NEW:
            self._publish_state(harness, ManagerState.END)
        self._harnesses.discard(harness)

    def supersede(self, harness: LoaderHarness) -> None:
        """Make room for another version of the same number. What `harness` has loaded serves until
        it is told to unload.
        """
        harness.is_aspired = False
        if harness.state in _HOLDS_SOMETHING:
            self._harnesses.supersede(harness)
        else:
            self._harnesses.discard(harness)

    def set_labels(self, name: str, labels: dict[str, int]) -> None:
        """Replace the labels of `name`; each moves to its version once that is available."""
        self._serving.set_labels(name, labels)

    def labels(self, name: str) -> Mapping[str, int]:
        """Where the labels of `name` point at present. For any thread."""
        return self._serving.labels(name)

    # …loading…

    def load(self, harness: LoaderHarness) -> None:
        """Begin to load a NEW version."""
        harness.handle(HarnessEvent.LOAD_REQUESTED)
        self._publish_state(harness, ManagerState.LOADING)
        self._load_executor.submit(lambda: self._run_load(harness))

    def cancel_retry(self, harness: LoaderHarness) -> None:
        """Give up on a version that waits for its next try."""
        self._give_up(harness, harness.error or CancelledError("Loading of servable cancelled"))

    def retry(self, harness: LoaderHarness) -> None:
        """Put a version whose retry is due back to NEW: the policy says when it loads."""
        is_new_round = harness.state is HarnessState.ERROR
        harness.retry()
        if is_new_round:
            self._publish_state(harness, ManagerState.START)

    # …unloading…

    def unload(self, harness: LoaderHarness) -> None:
        """Begin to unload a READY version: no more handles now, `Loader.unload` when the last one
        is released.
        """
        harness.handle(HarnessEvent.UNLOAD_REQUESTED)
        self._publish_state(harness, ManagerState.UNLOADING)
        version = self._loaded.pop(harness)
        self._serving.remove(version)
        version.close()

    # …and what comes back from other threads.

    @property
    def has_events(self) -> bool:
        """Whether `apply_events` has something to do."""
        return bool(self._events)

    def apply_events(self) -> None:
        """Apply what loads, unloads and handles have reported up to now."""
        for _ in range(len(self._events)):
            self._events.popleft()()

    def _report(self, event: Callable[[], None]) -> None:
        self._events.append(event)
        self._wake()

    def _run_load(self, harness: LoaderHarness) -> None:
        if not harness.is_aspired:  # it was left out while it waited for a thread
            self._report(lambda: harness.handle(HarnessEvent.LOAD_SKIPPED))
            return
        assert harness.loader is not None
        try:
            servable = _load(harness.loader)
        except BaseException as error:  # a plug-in's failure is its version's state
            failure = _without_frames(error, harness.id)
            self._report(lambda: self._load_failed(harness, failure))
        else:
            self._report(lambda: self._load_succeeded(harness, servable))

    def _load_succeeded(self, harness: LoaderHarness, servable: object) -> None:
        if not harness.is_aspired:
            harness.error = CancelledError("Loading of servable cancelled")
            harness.handle(HarnessEvent.DISCARDED)
            self._publish_state(harness, ManagerState.UNLOADING)
            self._begin_unload(harness)
            return
        harness.error = None
        harness.handle(HarnessEvent.LOAD_SUCCEEDED)
        version = ServingVersion(
            harness.id, servable, lambda: self._report(lambda: self._quiesced(harness))
        )
        self._loaded[harness] = version
        self._serving.add(version)
        self._publish_state(harness, ManagerState.AVAILABLE)

    def _load_failed(self, harness: LoaderHarness, error: ServingError) -> None:
        harness.load_failed(error, self._clock.monotonic())
        is_over = harness.state is HarnessState.ERROR
        self._publish_state(harness, ManagerState.END if is_over else ManagerState.LOADING)

    def _give_up(self, harness: LoaderHarness, error: ServingError) -> None:
        harness.give_up(error, self._clock.monotonic())
        self._publish_state(harness, ManagerState.END)

    def _quiesced(self, harness: LoaderHarness) -> None:
        harness.handle(HarnessEvent.LAST_HANDLE_RELEASED)
        self._begin_unload(harness)

    def _begin_unload(self, harness: LoaderHarness) -> None:
        self._unload_executor.submit(lambda: self._run_unload(harness))

    def _run_unload(self, harness: LoaderHarness) -> None:
        assert harness.loader is not None
        try:
            harness.loader.unload()
        except BaseException:  # a plug-in's failure to clean up must not keep the version
            _log.exception("Unloading servable %s failed; it counts as unloaded", harness.id)
        self._report(lambda: self._unloaded(harness))

    def _unloaded(self, harness: LoaderHarness) -> None:
        harness.handle(HarnessEvent.UNLOADED)
        self._publish_state(harness, ManagerState.END)

    def _publish_state(self, harness: LoaderHarness, state: ManagerState) -> None:
        shown = self._harnesses.shown(harness, state)
        if shown is not None:
            self._publish(_public_state(*shown, self._clock))


def _load(loader: Loader) -> object:
    loader.load()
    try:
        return loader.servable()
    except BaseException:
        loader.unload()
        raise


def next_due(harnesses: Sequence[LoaderHarness]) -> float | None:
    """The earliest monotonic time at which one of `harnesses` has a retry or a re-creation due,
    None if none has.
    """
    dues = [harness.due for harness in harnesses if harness.due is not None and harness.is_aspired]
    return min(dues, default=None)


def _public_state(harness: LoaderHarness, state: ManagerState, clock: Clock) -> ServableState:
    retry_time = None if harness.due is None else clock.time() + harness.due - clock.monotonic()
    message = harness.progress if harness.state is HarnessState.RETRY_WAIT else ""
    return ServableState(
        harness.id, state, harness.error, message, 0.0, retry_time, revision=harness.revision
    )


def _without_frames(error: BaseException, id: ServableId) -> ServingError:
    """Log the failure, with its traceback if nobody foresaw it, and strip it of that: the frames
    hold what the load had read, and the version's state shows the error for a long time.
    """
    failure = as_serving_error(error)
    trace = None if isinstance(error, ServingError | OSError) else error
    _log.warning("Loading servable %s failed: %s", id, failure, exc_info=trace)
    failure.__cause__ = failure.__context__ = None
    return failure.with_traceback(None)
