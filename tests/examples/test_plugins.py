"""Each example plug-in, used as its reader would use it."""

import json
import queue

import numpy as np
import pytest

from modelserver.core import (
    Action,
    AspiredServableStateSnapshot,
    AspiredVersionsManager,
    HarnessState,
    ServableAction,
    ServableData,
    ServableId,
    ServableRequest,
    SourceAdapter,
    StoragePath,
    connect,
)
from modelserver.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from modelserver.inference import DEFAULT_SIGNATURE
from modelserver.lookup import platform as lookup_platform
from modelserver.testing.executor import InlineExecutor
from modelserver.testing.loader import FakeLoader
from plugins import linear_model
from plugins.manifest_source import ManifestSource, parse_manifest
from plugins.rollback_policy import keep_previous_version
from plugins.sharded_lookup import ShardedLookup, export_shards, shard_of

NEW, LOADING, READY = HarnessState.NEW, HarnessState.LOADING, HarnessState.READY


def inline_manager(policy=None):
    executors = (InlineExecutor(), InlineExecutor())
    return AspiredVersionsManager(*([policy] if policy else []), executors=executors)


def settle(manager):
    while manager.step():
        pass


def available(manager):
    settle(manager)
    return manager.list_available_servable_ids()


# The source…


@pytest.fixture
def manifest(tmp_path):
    return tmp_path / "manifest.json"


@pytest.fixture
def deployed(manifest):
    """A manager fed by a ManifestSource that the test polls by hand."""
    manager = inline_manager()
    adapter = SourceAdapter(lambda servable_id, path: FakeLoader(path.path))
    connect(adapter, manager.set_aspired_versions)
    return polled_by_hand(manifest, adapter), manager


def polled_by_hand(manifest, target):
    """A ManifestSource whose own thread has ended before there was a manifest."""
    source = ManifestSource(manifest)
    connect(source, target)
    source.stop()
    return source


def test_what_the_manifest_lists_is_served(manifest, deployed):
    source, manager = deployed
    manifest.write_text(json.dumps({"a": {"1": "/x/1"}, "b": {"7": "/y/7"}}))

    source.poll()

    assert available(manager) == [ServableId("a", 1), ServableId("b", 7)]


def test_what_is_taken_out_of_the_manifest_is_unloaded(manifest, deployed):
    source, manager = deployed
    manifest.write_text(json.dumps({"a": {"1": "/x/1"}, "b": {"7": "/y/7"}}))
    source.poll()
    manifest.write_text(json.dumps({"a": {"1": "/x/1"}}))

    source.poll()

    assert available(manager) == [ServableId("a", 1)]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"a": ["1"]}', '{"a": {"one": "/x"}}', '{"a": {"2": "/x/2", "02": "/y/2"}}'],
)
def test_a_bad_manifest_changes_nothing(manifest, deployed, text, caplog):
    source, manager = deployed
    manifest.write_text(json.dumps({"a": {"1": "/x/1"}}))
    source.poll()
    manifest.write_text(text)

    source.poll()

    assert available(manager) == [ServableId("a", 1)]
    assert "Keeping the last manifest" in caplog.text


def test_a_name_that_the_target_refuses_does_not_keep_the_others_from_it(manifest, caplog):
    emitted = []

    def refuse_a(name, versions):
        if name == "a":
            raise InvalidArgumentError("no a here")
        emitted.append(name)

    source = polled_by_hand(manifest, refuse_a)
    manifest.write_text(json.dumps({"a": {"1": "/x/1"}, "b": {"7": "/y/7"}}))

    source.poll()

    assert emitted == ["b"]
    assert "no a here" in caplog.text


def test_a_running_source_emits_and_stops(manifest):
    manifest.write_text(json.dumps({"a": {"1": "/x/1"}}))
    emitted = queue.SimpleQueue()
    source = ManifestSource(manifest)

    connect(source, lambda name, versions: emitted.put((name, list(versions))))
    first = emitted.get(timeout=30)
    source.stop()

    assert first == ("a", parse_manifest(manifest.read_text())["a"])


def test_a_source_that_was_never_connected_can_be_stopped(manifest):
    source = ManifestSource(manifest)

    source.stop()

    emitted = []
    connect(source, lambda name, versions: emitted.append(name))
    source.stop()
    assert emitted == []


# The policy…


def snapshot(*versions):
    return [
        AspiredServableStateSnapshot(ServableId("m", v), state, aspired)
        for v, state, aspired in versions
    ]


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param([(1, READY, False), (2, READY, True)], None, id="keeps-the-previous-version"),
        pytest.param(
            [(1, READY, False), (2, READY, False), (3, READY, True)],
            ServableAction(Action.UNLOAD, ServableId("m", 1)),
            id="unloads-the-one-before-it",
        ),
        pytest.param(
            [(1, READY, False), (2, NEW, True)],
            ServableAction(Action.LOAD, ServableId("m", 2)),
            id="loads-beside-it",
        ),
        pytest.param(
            [(1, READY, False)],
            ServableAction(Action.UNLOAD, ServableId("m", 1)),
            id="keeps-nothing-for-nothing",
        ),
    ],
)
def test_the_rollback_policy_keeps_one_version_back(versions, expected):
    assert keep_previous_version(snapshot(*versions)) == expected


def test_rolling_back_under_the_policy_takes_no_load():
    manager = inline_manager(keep_previous_version)
    loaders = {version: FakeLoader(version) for version in (1, 2)}

    for version in (1, 2, 1):
        data = ServableData(ServableId("m", version), loaders[version])
        manager.set_aspired_versions("m", [data])
        settle(manager)

    assert loaders[1].loads == 1
    assert ServableId("m", 1) in manager.list_available_servable_ids()


# The servable…


@pytest.fixture
def linear_export(tmp_path):
    (tmp_path / "model.json").write_text(
        json.dumps({"weights": [[1, 0], [0, 2]], "bias": [0.5, 0]})
    )
    return StoragePath(str(tmp_path))


def test_the_linear_model_loads_and_predicts(linear_export):
    loader = linear_model.platform({}).make_loader(ServableId("m", 1), linear_export)
    loader.load()

    answer = loader.servable().predict(
        DEFAULT_SIGNATURE, {"x": np.array([[3, 4]], np.float32)}, ["y"]
    )

    assert answer["y"].tolist() == [[3.5, 8.0]]


def test_the_linear_model_tells_a_complete_version_from_one_still_being_written(
    tmp_path, linear_export
):
    platform = linear_model.platform({})
    assert not platform.must_settle("model.json")
    whole = (tmp_path / "model.json").read_text()

    assert platform.missing_files(linear_export) == []
    (tmp_path / "model.json").write_text(whole[:10])
    assert platform.missing_files(linear_export) == ["model.json (not complete)"]
    (tmp_path / "model.json").unlink()
    assert platform.missing_files(linear_export) == ["model.json"]


def test_a_file_that_is_no_linear_model_fails_its_load_with_its_name(tmp_path, linear_export):
    (tmp_path / "model.json").write_text('{"weights": "none"}')
    loader = linear_model.platform({}).make_loader(ServableId("m", 1), linear_export)

    with pytest.raises(DataLossError, match=r"model\.json is no linear model"):
        loader.load()


# The sharded lookup…

TABLE = {f"word-{n}".encode(): np.array([n, n * n], np.float32) for n in range(100)}
SHARDS = 3


def serve_shards(base_path, version, manager):
    """Serve every shard of the export in `base_path` in `version` only."""
    for shard in range(SHARDS):
        name = f"words-{shard}"
        path = StoragePath(str(base_path / name / str(version)))
        servable_id = ServableId(name, version)
        loader = lookup_platform({}).make_loader(servable_id, path)
        manager.set_aspired_versions(name, [ServableData(servable_id, loader)])
    settle(manager)


@pytest.fixture
def shards(tmp_path):
    export_shards(tmp_path, "words", 1, TABLE, SHARDS)
    return tmp_path


def test_a_sharded_table_answers_like_one_table(shards):
    manager = inline_manager()
    serve_shards(shards, 1, manager)
    keys = [b"word-7", b"nowhere", b"word-42", b"word-7", b"word-99"]

    values, found = ShardedLookup("words", [manager] * SHARDS).look_up(keys)

    assert found.tolist() == [True, False, True, True, True]
    assert values.tolist() == [[7, 49], [0, 0], [42, 42 * 42], [7, 49], [99, 99 * 99]]


def test_shards_may_live_in_managers_of_their_own(shards):
    managers = [inline_manager() for _ in range(SHARDS)]
    for manager in managers:
        serve_shards(shards, 1, manager)

    values, found = ShardedLookup("words", managers).look_up(list(TABLE))

    assert found.all()
    assert values.tolist() == [row.tolist() for row in TABLE.values()]


def test_a_view_uses_the_newest_version_that_every_shard_serves(shards):
    managers = [inline_manager() for _ in range(SHARDS)]
    for manager in managers:
        serve_shards(shards, 1, manager)
    newer = {key: row * 10 for key, row in TABLE.items()}
    export_shards(shards, "words", 2, newer, SHARDS)
    view = ShardedLookup("words", managers)

    serve_two = ServableId("words-0", 2)
    path = StoragePath(str(shards / "words-0" / "2"))
    loader = lookup_platform({}).make_loader(serve_two, path)
    old = ServableId("words-0", 1)
    old_loader = lookup_platform({}).make_loader(old, StoragePath(str(shards / "words-0" / "1")))
    managers[0].set_aspired_versions(
        "words-0", [ServableData(old, old_loader), ServableData(serve_two, loader)]
    )
    settle(managers[0])
    assert view.common_version() == 1

    for manager in managers:
        serve_shards(shards, 2, manager)
    assert view.common_version() == 2
    assert view.look_up([b"word-7"])[0].tolist() == [[70, 490]]


def test_a_view_without_a_common_version_says_so(shards):
    view = ShardedLookup("words", [inline_manager() for _ in range(SHARDS)])

    with pytest.raises(UnavailableError, match="No version is served by every one of"):
        view.look_up([b"word-1"])


class RolledOutAfterListing:
    """A manager in which version 2 takes the place of version 1 just after it was looked at."""

    def __init__(self, manager, roll_out):
        self._manager = manager
        self._roll_out = roll_out

    def list_available_servable_ids(self):
        listed = self._manager.list_available_servable_ids()
        self._roll_out()
        return listed

    def get_servable_handle(self, request):
        return self._manager.get_servable_handle(request)


def test_a_rollout_between_choosing_a_version_and_claiming_it_chooses_again(shards):
    export_shards(shards, "words", 2, {key: row * 10 for key, row in TABLE.items()}, SHARDS)
    managers = [inline_manager() for _ in range(SHARDS)]
    for manager in managers:
        serve_shards(shards, 1, manager)

    def roll_out():
        for manager in managers:
            serve_shards(shards, 2, manager)

    late = RolledOutAfterListing(managers[-1], roll_out)

    values, found = ShardedLookup("words", [*managers[:-1], late]).look_up(list(TABLE))

    assert found.all()
    assert values.tolist() == [(row * 10).tolist() for row in TABLE.values()]


def test_a_shard_that_can_never_be_claimed_is_unavailable_and_claims_nothing(shards):
    managers = [inline_manager() for _ in range(SHARDS)]
    for manager in managers:
        serve_shards(shards, 1, manager)

    class Forgetful:
        """A manager that lists what it does not serve."""

        list_available_servable_ids = managers[-1].list_available_servable_ids
        get_servable_handle = inline_manager().get_servable_handle

    view = ShardedLookup("words", [*managers[:-1], Forgetful()])

    with pytest.raises(UnavailableError, match="change too fast"):
        view.look_up(list(TABLE))

    for manager in managers[:-1]:
        for name in ("words-0", "words-1", "words-2"):
            manager.set_aspired_versions(name, [])
        assert available(manager) == []


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({b"a": np.zeros(2), b"b": np.zeros(2)}, "2 keys leave one of 3 shards empty: use fewer"),
        ({**TABLE, b"a\0": np.zeros(2)}, "A key ends with NUL"),
    ],
)
def test_a_table_that_cannot_be_exported_is_refused_whole(tmp_path, table, message):
    with pytest.raises(ValueError, match=message):
        export_shards(tmp_path, "words", 1, table, SHARDS)

    assert list(tmp_path.iterdir()) == []


def test_every_process_finds_a_key_in_the_same_shard():
    assert [shard_of(key, 3) for key in (b"a", b"b", b"word-7")] == [0, 2, 1]


def test_a_shard_that_is_gone_is_not_found(shards):
    manager = inline_manager()
    serve_shards(shards, 1, manager)
    manager.set_aspired_versions("words-0", [])
    settle(manager)

    with pytest.raises(NotFoundError):
        manager.get_servable_handle(ServableRequest.specific("words-0", 1))
