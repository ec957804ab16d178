"""The workers: take keys from the queue, reconcile them, and plan the next look."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from modelserver_operator.api import ModelServerStatus
from modelserver_operator.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    UnavailableError,
)
from modelserver_operator.observed import Capabilities
from modelserver_operator.polling import PodPoller
from modelserver_operator.reconcile import Round
from modelserver_operator.telemetry import Telemetry
from modelserver_operator.work_queue import Key, WorkQueue

Reconcile = Callable[[Key, Capabilities], Awaitable[Round]]

logger = logging.getLogger(__name__)

_RESULTS: tuple[tuple[type[Exception], str], ...] = (
    (ConflictError, "conflict"),
    (UnavailableError, "unavailable"),
    (ForbiddenError, "forbidden"),
    (InvalidError, "invalid"),
    (ClusterError, "error"),
)


class Workers:
    """Reconciles what the queue has, several keys at a time.

    A failure is repeated with the queue's backoff, or later where the API server asks for that.
    Conflicts and outages are part of life and are counted; the rest is logged with its cause.
    """

    def __init__(
        self,
        queue: WorkQueue[Key],
        reconcile: Reconcile,
        poller: PodPoller,
        telemetry: Telemetry,
        capabilities: Callable[[], Capabilities],
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._poller = poller
        self._telemetry = telemetry
        self._capabilities = capabilities

    async def run(self, count: int) -> None:
        """Work until cancelled, on up to `count` keys at a time."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(self._work(), name=f"reconcile worker {number}")

    async def _work(self) -> None:
        while True:
            await self._reconcile_next()

    async def _reconcile_next(self) -> None:
        key = await self._queue.take()
        started = time.monotonic()
        try:
            result = self._succeeded(key, await self._reconcile(key, self._capabilities()))
        except asyncio.CancelledError:
            self._queue.done(key)
            raise
        except Exception as error:
            result = self._failed(key, error)
        self._telemetry.reconciled(result, time.monotonic() - started)

    def _succeeded(self, key: Key, outcome: Round) -> str:
        self._queue.done(key)
        if outcome.status is None:
            self._forget(key)
            return "gone"
        self._remember(key, outcome.status)
        self._queue.add(key, outcome.again_seconds)
        return "success"

    def _remember(self, key: Key, status: ModelServerStatus) -> None:
        self._telemetry.versions.show(key, status)

    def _forget(self, key: Key) -> None:
        self._poller.forget(key)
        self._telemetry.versions.forget(key)

    def _failed(self, key: Key, error: Exception) -> str:
        result = next((word for kind, word in _RESULTS if isinstance(error, kind)), "bug")
        at_least = error.retry_after_seconds if isinstance(error, UnavailableError) else None
        delay = self._queue.failed(key, at_least or 0)
        if result == "bug":
            logger.error("%s: a bug; trying again in %.0f s", key, delay, exc_info=error)
        elif result == "conflict":
            logger.debug("%s: %s; trying again in %.1f s", key, error, delay)
        else:
            logger.warning("%s: %s; trying again in %.0f s", key, error, delay)
        return result
