"""ServedModels: the models that a server has, from their base paths to their handles, as its
configuration has them at the moment.
"""

import logging
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from weakref import WeakSet

from modelserver.admin.snapshot import ModelSnapshot, SourceSnapshot
from modelserver.batching import SharedBatchScheduler
from modelserver.clock import SystemClock
from modelserver.config import ModelConfig, ModelList, ServerConfig
from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.loader import Loader
from modelserver.core.servable import ServableId
from modelserver.core.source import SourceAdapter, connect
from modelserver.core.storage_path import StoragePath
from modelserver.core.storage_totals import StorageTotals
from modelserver.errors import NotFoundError, ServingError
from modelserver.inference import (
    BatchedPredictor,
    BatchingOptions,
    DirectPredictor,
    Platform,
    Predictor,
)
from modelserver.inference.adjustable import AdjustablePredictor
from modelserver.inference.loader import AsyncPredictorLoader, ClosableAsyncPredictor
from modelserver.platforms import make_platforms
from modelserver.ready_marker import missing_files_of, nothing_settles
from modelserver.sources import MonitoredServable, SourceStatus, StoragePathSource
from modelserver.sources.cache.version_cache import VersionCache
from modelserver.sources.held_loader import HeldLoader
from modelserver.sources.storage.router import StorageRouter, polling_of
from modelserver.sources.storage.stores import make_store
from modelserver.sources.stored_versions import stored_version

_log = logging.getLogger(__name__)

_UNLOAD_SECONDS = 10.0
"""How long a stop waits for models to unload, and again for their runs to end."""


class ServedModels:
    """The manager, the source, the platforms and the batching of one server. Thread-safe.

    `apply` may be called at any time, before and after `start`; what it changes is changed while
    calls go on.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._list = ModelList()
        self._applying = threading.Lock()
        self._platforms: dict[tuple[str, tuple[int, ...]], Platform] = {}
        self._platform_of: Mapping[str, Platform] = {}
        self._adjusting = threading.Lock()
        self._batching_of: Mapping[str, BatchingOptions | None] = {}
        self._predictors: dict[str, WeakSet[AdjustablePredictor]] = {}
        self.manager = AspiredVersionsManager(options=config.manager)
        self.batching = _make_scheduler(config)
        self._direct = ThreadPoolExecutor(4 * (os.cpu_count() or 1), "predict")
        for model in config.models:  # what is wrong from the start is told at once
            self._platform(model)
        self.storage = StorageRouter(
            VersionCache(config.cache_directory, config.cache_size_limit),
            partial(make_store, gcs_anonymous=config.gcs_anonymous),
        )
        self._source = StoragePathSource(
            self.storage,
            (),
            report_held_back=self.manager.monitor.report_held_back,
            loaded_revision=self.manager.monitor.loaded_revision,
            servable_versions_always_present=config.servable_versions_always_present,
        )

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """The models that are configured."""
        return self._list.models

    def start(self) -> None:
        """Begin to look for versions, and to load them."""
        self.manager.start()
        adapter = SourceAdapter(self._make_loader)
        connect(adapter, self.manager.set_aspired_versions)
        connect(self._source, adapter)

    def stop(self) -> bool:
        """Unload everything. Returns whether all threads have ended."""
        self.storage.stop()
        self._source.stop()
        has_unloaded = self.manager.stop(_UNLOAD_SECONDS)
        self._direct.shutdown(wait=has_unloaded, cancel_futures=True)
        has_batched = self.batching is None or self.batching.stop(_UNLOAD_SECONDS)
        if not (has_unloaded and has_batched):
            _log.warning("Some loads or runs did not end within %g s", _UNLOAD_SECONDS)
        return has_unloaded and has_batched

    # Being told what to serve…

    def apply(self, wanted: ModelList) -> None:
        """Serve exactly `wanted` from now on.

        Nothing that a model had before is given up before there is something in its place, as far
        as its policy allows. A model whose platform or storage is not to be had keeps the others
        from nothing: it is told in `snapshots`.
        """
        with self._applying:
            servables = [self._monitored(model) for model in wanted.models]
            previous, self._list = self._list, wanted
            self._apply_policies(previous, wanted)
            self._apply_batching(wanted)
            self._source.update_servables(servables)
            self._forget_the_others(wanted)
            if wanted.poll_request != previous.poll_request and previous.models:
                self._poll_now()

    def _poll_now(self) -> None:
        for model in self._list.models:
            self._source.poll_now(model.name)

    def _apply_policies(self, previous: ModelList, wanted: ModelList) -> None:
        names = {model.name for model in wanted.models}
        for model in previous.models:
            if model.name not in names:
                self.manager.set_version_labels(model.name, {})
        for model in wanted.models:
            self.manager.set_policy(model.name, model.transition_policy)
            self.manager.set_version_labels(model.name, model.version_labels)

    def _apply_batching(self, wanted: ModelList) -> None:
        with self._adjusting:
            self._batching_of = {m.name: m.batching or self._config.batching for m in wanted.models}
            for name, predictors in self._predictors.items():
                for predictor in list(predictors):
                    predictor.use(self._batching_of.get(name))

    def _forget_the_others(self, wanted: ModelList) -> None:
        """Keep nothing of models that are gone, but the predictors of versions that are not yet."""
        names = {model.name for model in wanted.models}
        self._platform_of = {n: p for n, p in self._platform_of.items() if n in names}
        in_use = {id(platform) for platform in self._platform_of.values()}
        self._platforms = {k: p for k, p in self._platforms.items() if id(p) in in_use}
        with self._adjusting:
            self._predictors = {n: p for n, p in self._predictors.items() if len(p) or n in names}

    # …finding the versions…

    def _monitored(self, model: ModelConfig) -> MonitoredServable:
        refusal = ""
        platform: Platform = _NO_PLATFORM
        try:
            platform = self._platform(model)
        except ServingError as error:
            refusal = error.message
        must_settle = nothing_settles if model.ready_marker else platform.must_settle
        self._platform_of = {**self._platform_of, model.name: platform}
        polling = polling_of(model.base_path)
        given = (model.poll_wait_seconds, self._config.poll_wait_seconds, polling.wait_seconds)
        return MonitoredServable(
            model.name,
            model.base_path,
            missing_files_of(platform, model.ready_marker),
            model.version_policy,
            next(seconds for seconds in given if seconds is not None),
            must_settle,
            model.platform,
            refusal,
            polling.jitter,
            polling.relist_seconds,
        )

    def _platform(self, model: ModelConfig) -> Platform:
        batching = model.batching or self._config.batching
        sizes = batching.execution_batch_sizes if batching else ()
        key = (model.platform, sizes)
        if key not in self._platforms:
            options = {**self._config.platform_options, "warmup_batch_sizes": sizes}
            self._platforms[key] = make_platforms([model.platform], options)[model.platform]
        return self._platforms[key]

    # …and what becomes of each.

    def _make_loader(self, servable_id: ServableId, path: StoragePath) -> Loader:
        platform = self._platform_of.get(servable_id.name)
        if platform is None:
            raise NotFoundError(f"No model is called {servable_id.name}")
        loader = HeldLoader(
            platform.make_loader(servable_id, path), partial(self.storage.hold, path)
        )
        return AsyncPredictorLoader(loader, partial(self._make_adjustable, servable_id.name))

    def _make_adjustable(self, name: str, predictor: Predictor) -> AdjustablePredictor:
        with self._adjusting:
            made = AdjustablePredictor(
                partial(self._make_async, predictor), self._batching_of.get(name)
            )
            self._predictors.setdefault(name, WeakSet()).add(made)
            return made

    def _make_async(
        self, predictor: Predictor, options: BatchingOptions | None
    ) -> ClosableAsyncPredictor:
        if options is None or self.batching is None:
            return DirectPredictor(predictor, self._direct, SystemClock())
        return BatchedPredictor(predictor, self.batching, options)

    # Telling what there is.

    def source_statuses(self) -> dict[str, SourceStatus]:
        """Whether each model's base path can be looked at."""
        return self._source.statuses()

    def snapshots(self) -> tuple[ModelSnapshot, ...]:
        """What is known of each model, in the order of the configuration. Waits for nothing."""
        statuses, versions = self._source.statuses(), self._source.versions()
        next_polls = self._source.next_polls()
        progress = {fetch.path: fetch for fetch in self.storage.progress()}
        return tuple(
            ModelSnapshot(
                model.name,
                model.base_path,
                _source_snapshot(statuses.get(model.name, SourceStatus())),
                self.manager.monitor.get_version_states(model.name),
                model.version_labels,
                self.manager.version_labels(model.name),
                model.is_awaited,
                {
                    version: stored_version(path, progress)
                    for version, path in versions.get(model.name, {}).items()
                },
                next_polls.get(model.name),
            )
            for model in self._list.models
        )

    def storage_totals(self) -> StorageTotals:
        """What has been asked of storages so far, and how full the cache is. Waits for nothing."""
        return self.storage.totals()


def _source_snapshot(status: SourceStatus) -> SourceSnapshot:
    warnings = " ".join(status.warnings)
    return SourceSnapshot(status.is_accessible, status.error, warnings, status.mutated)


class _NoPlatform:
    """Stands in where there is no platform: nothing is looked at, so nothing is asked of it."""

    def missing_files(self, path: StoragePath) -> list[str]:
        raise NotImplementedError

    def must_settle(self, name: str) -> bool:
        raise NotImplementedError

    def make_loader(self, id: ServableId, path: StoragePath) -> Loader:
        raise NotImplementedError


_NO_PLATFORM = _NoPlatform()


def _make_scheduler(config: ServerConfig) -> SharedBatchScheduler | None:
    if config.batching is None and config.model_list_file is None:
        return None
    batching = config.batching or BatchingOptions()
    return SharedBatchScheduler(
        batching.num_batch_threads, thread_pool_name=batching.thread_pool_name
    )
