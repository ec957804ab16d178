"""StartUp: what a server waits for before its port opens. What it waits for is decided by pure
functions.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from modelserver.core.servable import ServableRequest
from modelserver.core.state import ManagerState, ServableState
from modelserver.errors import FailedPreconditionError
from modelserver.served_models import ServedModels
from modelserver.sources import SourceStatus

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
"""How often it is looked whether the server has been asked to stop."""

_REMIND_SECONDS = 10.0
"""How often it says what it is still waiting for."""

_FIRST_POLL_SECONDS = 10.0
"""How long --serve_partial waits for a model of which nothing has been heard."""


class StartUp:
    """Waits until no model keeps the port closed any more. For one thread.

    Only models that are awaited count, as the configuration has them at the time. Each keeps the
    port closed until it has an AVAILABLE version or has failed for good; with `serve_partial` only
    while a version of it is on its way. Nothing opens before `is_configured` says so.
    """

    def __init__(
        self, models: ServedModels, is_configured: Callable[[], bool], *, serve_partial: bool
    ) -> None:
        self._models = models
        self._monitor = models.manager.monitor
        self._is_configured = is_configured
        self._serve_partial = serve_partial
        self._reached: set[ServableRequest] = set()
        self._failed: dict[ServableRequest, ServableState] = {}

    def wait(self, stop: threading.Event) -> bool:
        """Wait. Returns False if asked to stop meanwhile.

        Raises:
            FailedPreconditionError: models failed, and that is not to be served.

        """
        waited_seconds = searched_seconds = 0.0
        while not stop.is_set():
            is_configured = self._is_configured()  # before the models: they come with it
            awaited = self._awaited()
            self._wait_a_moment(awaited, stop)
            pending = self._pending(awaited, searched_seconds)
            if is_configured and not pending:
                self._check_failures()
                return True
            waited_seconds += _LOOK_SECONDS
            searched_seconds += _LOOK_SECONDS if is_configured else 0.0
            if waited_seconds % _REMIND_SECONDS == 0:
                _log.info("Still waiting for %s", self._describe(pending) or "a configuration")
        return False

    def _awaited(self) -> frozenset[ServableRequest]:
        models = (model for model in self._models.models if model.is_awaited)
        return frozenset(ServableRequest.latest(model.name) for model in models)

    def _wait_a_moment(self, awaited: frozenset[ServableRequest], stop: threading.Event) -> None:
        unsettled = awaited - self._reached - self._failed.keys()
        if not unsettled:
            if not self._is_configured():
                stop.wait(_LOOK_SECONDS)
            return
        result = self._monitor.wait_until_reached(unsettled, timeout=_LOOK_SECONDS)
        self._reached |= result.reached.keys()
        self._failed |= result.failed

    def _pending(
        self, awaited: frozenset[ServableRequest], searched_seconds: float
    ) -> frozenset[ServableRequest]:
        """Those of the models that are not there yet that keep the port closed."""
        unsettled = awaited - self._reached - self._failed.keys()
        if not self._serve_partial:
            return unsettled
        sources = self._models.source_statuses()
        may_be_found = searched_seconds < _FIRST_POLL_SECONDS
        return frozenset(
            request
            for request in unsettled
            if is_on_its_way(
                self._monitor.get_version_states(request.name),
                sources.get(request.name, SourceStatus()),
                may_be_found=may_be_found,
            )
        )

    def _check_failures(self) -> None:
        """Refuse to serve, or say so, for models that failed and have not recovered since."""
        failed = self._failed.keys() & self._awaited()
        recovered = self._monitor.wait_until_reached(failed, timeout=0).reached
        failures = [self._failed[request] for request in failed - recovered.keys()]
        if not failures:
            return
        message = describe_failures(failures)
        if not self._serve_partial:
            raise FailedPreconditionError(message)
        _log.error("%s. Serving the others, as --serve_partial says", message)

    def _describe(self, pending: Iterable[ServableRequest]) -> str:
        sources = self._models.source_statuses()
        return "; ".join(
            describe_pending(
                name, self._monitor.get_version_states(name), sources.get(name, SourceStatus())
            )
            for name in sorted(request.name for request in pending)
        )


def is_on_its_way(
    states: Mapping[int, ServableState], source: SourceStatus, *, may_be_found: bool
) -> bool:
    """Whether a model without an available version is worth waiting for: one of its versions is
    loading, or about to, and has not failed yet; or none is known, `may_be_found`, and the source
    does not say that there is none.
    """
    if not states:
        return may_be_found and source.error is None and not source.finds_nothing
    return any(
        state.manager_state in (ManagerState.START, ManagerState.LOADING)
        and state.health is None
        # A message says what an incomplete version waits for.
        and (state.is_coming or not state.message)
        for state in states.values()
    )


def describe_failures(states: Sequence[ServableState]) -> str:
    """Say which models ended without an available version, in the reference's words."""
    failures = "".join(f"{{{state.id} due to error: {state.health}}}, " for state in states)
    return f"{len(states)} servable(s) did not become available: {{{failures}}}"


def describe_pending(name: str, states: Mapping[int, ServableState], source: SourceStatus) -> str:
    """Say what a model that is not available yet is waiting for."""
    if source.error is not None:
        return f"{name}: {source.error}"
    if not states:
        return f"{name}: no version found yet"
    versions = (
        f"version {version} {state.manager_state.name}"
        + "".join(f" ({text})" for text in (state.message, state.health) if text)
        for version, state in states.items()
    )
    return f"{name}: {', '.join(versions)}"
