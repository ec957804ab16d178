"""The manager, driven step by step: no thread, no real time."""

import threading

import pytest

from modelserver.core.aspired_versions_manager import AspiredVersionsManager, ManagerOptions
from modelserver.core.harness import RetryOptions
from modelserver.core.policy import (
    Action,
    ServableAction,
    availability_preserving,
    resource_preserving,
)
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.core.source import SourceAdapter, connect
from modelserver.core.state import ManagerState
from modelserver.errors import CancelledError, DataLossError, InvalidArgumentError, NotFoundError
from modelserver.testing.clock import ManualClock
from modelserver.testing.executor import InlineExecutor, ManualExecutor
from modelserver.testing.loader import FakeLoader

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
BROKEN = DataLossError("saved_model.pb is truncated")


class Rig:
    """A manager with its fakes, and the words that the tests are written in."""

    def __init__(self, policy=availability_preserving, *, load=None, unload=None, **retry):
        self.clock = ManualClock()
        self.load = InlineExecutor() if load is None else load
        self.unload = InlineExecutor() if unload is None else unload
        options = ManagerOptions(retry=RetryOptions(**retry))
        self.manager = AspiredVersionsManager(
            policy, options, clock=self.clock, executors=(self.load, self.unload)
        )
        self.loaders = {}
        self.history = []
        self.manager.monitor.subscribe(
            lambda s: self.history.append((s.id.version, s.manager_state))
        )

    def aspire(self, *versions, name="m", revision=None):
        """Aspire numbers (a FakeLoader each) or ready-made ServableData, and let things settle."""
        self.aspire_only(*versions, name=name, revision=revision)
        self.settle()

    def aspire_only(self, *versions, name="m", revision=None):
        data = [
            v if isinstance(v, ServableData) else self.data(v, name, revision) for v in versions
        ]
        self.manager.set_aspired_versions(name, data)

    def data(self, version, name="m", revision=None, failures=()):
        loader = FakeLoader(f"{name}-{version}", failures)
        self.loaders[name, version] = loader
        return ServableData(ServableId(name, version), loader, revision=revision)

    def settle(self):
        while self.manager.step():
            pass

    def available(self, name="m"):
        return [i.version for i in self.manager.list_available_servable_ids() if i.name == name]

    def state(self, version, name="m"):
        return self.manager.monitor.get_state(ServableId(name, version))

    def handle(self, name="m"):
        return self.manager.get_servable_handle(ServableRequest.latest(name))

    def after(self, seconds):
        self.clock.advance(seconds)
        self.settle()


# Loading and unloading by omission…


def test_an_aspired_version_is_loaded_and_handed_out():
    rig = Rig()

    rig.aspire(1)

    with rig.handle() as handle:
        assert handle.servable == "m-1"
    assert rig.history == [(1, START), (1, LOADING), (1, AVAILABLE)]


def test_omission_unloads():
    rig = Rig()
    rig.aspire(1, 2)

    rig.aspire(2)

    assert rig.available() == [2]
    assert rig.state(1).manager_state is END
    assert rig.state(1).health is None


def test_an_empty_list_unloads_everything():
    rig = Rig()
    rig.aspire(1, 2)

    rig.aspire()

    assert rig.available() == []
    assert (rig.loaders["m", 1].unloads, rig.loaders["m", 2].unloads) == (1, 1)
    with pytest.raises(NotFoundError, match=r"^Servable not found for request: Latest\(m\)$"):
        rig.handle()


def test_the_same_list_again_changes_nothing():
    rig = Rig()
    rig.aspire(1)
    first = rig.loaders["m", 1]
    rig.history.clear()

    rig.aspire(1)

    assert rig.history == []
    assert first.loads == 1
    assert rig.loaders["m", 1].loads == 0


def test_of_several_pending_lists_the_last_wins():
    rig = Rig()

    rig.aspire_only(1)
    rig.aspire_only(2)
    rig.aspire(3)

    assert rig.history == [(3, START), (3, LOADING), (3, AVAILABLE)]


def test_nothing_unloads_that_is_aspired():
    rig = Rig(
        policy=lambda versions: ServableAction(Action.UNLOAD, versions[0].id) if versions else None
    )
    rig.manager.set_policy("m", availability_preserving)
    rig.aspire(1)

    rig.manager.set_policy("m", lambda versions: ServableAction(Action.UNLOAD, versions[0].id))
    rig.settle()

    assert rig.available() == [1]


def test_names_are_independent():
    rig = Rig(load=ManualExecutor())
    rig.aspire(1, name="slow")
    rig.aspire(1, name="m")

    rig.aspire(name="slow")
    rig.load.run_all()
    rig.settle()

    assert rig.available("m") == [1]
    assert rig.available("slow") == []


def test_all_aspired_versions_are_loaded_highest_first():
    rig = Rig()

    rig.aspire(1, 2, 3)

    assert [v for v, s in rig.history if s is LOADING] == [3, 2, 1]
    assert rig.available() == [1, 2, 3]


def test_a_list_that_names_another_servable_is_refused_and_the_old_list_stands():
    rig = Rig()
    rig.aspire(1)

    with pytest.raises(InvalidArgumentError):
        rig.manager.set_aspired_versions("m", [rig.data(1, "other")])
    rig.settle()

    assert rig.available() == [1]


def test_a_list_with_a_version_twice_is_refused():
    rig = Rig()

    with pytest.raises(InvalidArgumentError, match="twice"):
        rig.manager.set_aspired_versions("m", [rig.data(1), rig.data(1)])


# The two transitions…


def test_availability_preserving_keeps_the_old_version_until_the_new_one_serves():
    rig = Rig(load=ManualExecutor())
    rig.aspire(1)
    rig.load.run_all()
    rig.settle()

    rig.aspire(2)
    assert rig.available() == [1]
    rig.load.run_all()
    rig.settle()

    assert rig.available() == [2]
    assert rig.history.index((2, AVAILABLE)) < rig.history.index((1, UNLOADING))


def test_resource_preserving_unloads_the_old_version_before_it_loads_the_new():
    rig = Rig(resource_preserving)
    rig.aspire(1)

    rig.aspire(2)

    assert rig.available() == [2]
    assert rig.history.index((1, END)) < rig.history.index((2, LOADING))


def test_a_policy_of_its_own_can_be_set_for_one_name():
    rig = Rig(availability_preserving)
    rig.manager.set_policy("frozen", lambda versions: None)

    rig.aspire(1, name="frozen")
    rig.aspire(1, name="m")

    assert rig.available("frozen") == []
    assert rig.available("m") == [1]


def test_a_policy_that_fails_stops_its_own_name_only(caplog):
    rig = Rig()
    rig.manager.set_policy("bad", lambda versions: 1 / 0)

    rig.aspire(1, name="bad")
    rig.aspire(1, name="m")

    assert rig.available("m") == [1]
    assert "The version policy of bad failed" in caplog.text


def test_a_policy_that_asks_for_an_unknown_version_is_ignored():
    rig = Rig(lambda versions: ServableAction(Action.LOAD, ServableId("m", 99)))

    rig.aspire(1)

    assert rig.available() == []
    assert rig.state(1).manager_state is START


# Handles…


def test_a_held_handle_delays_the_unload_of_its_own_version_only():
    rig = Rig()
    rig.aspire(1)
    handle = rig.handle()

    rig.aspire(2)
    rig.aspire(3)

    assert rig.available() == [3]
    assert rig.loaders["m", 2].unloads == 1
    assert rig.state(1).manager_state is UNLOADING
    assert rig.loaders["m", 1].unloads == 0
    handle.release()
    rig.settle()
    assert rig.loaders["m", 1].unloads == 1
    assert rig.state(1).manager_state is END


def test_all_available_versions_can_be_claimed_at_once():
    rig = Rig()
    rig.aspire(1, 2)
    rig.aspire(5, name="other")

    handles = rig.manager.get_available_servable_handles()

    assert sorted(handles) == [ServableId("m", 1), ServableId("m", 2), ServableId("other", 5)]
    for handle in handles.values():
        handle.release()


def test_labels_follow_their_version_when_it_becomes_available():
    rig = Rig(load=ManualExecutor())
    rig.manager.set_version_labels("m", {"stable": 1})
    rig.aspire(1, 2)
    rig.load.run_all()
    rig.settle()
    rig.manager.set_version_labels("m", {"stable": 2, "old": 1})
    rig.settle()

    with rig.manager.get_servable_handle(ServableRequest.labelled("m", "stable")) as handle:
        assert handle.id.version == 2
    with rig.manager.get_servable_handle(ServableRequest.labelled("m", "old")) as handle:
        assert handle.id.version == 1


# Failures and retries…


def test_a_failed_load_is_tried_again_after_the_interval():
    rig = Rig(load_retry_interval_seconds=60.0)
    rig.aspire(rig.data(1, failures=[BROKEN]))
    assert rig.state(1).manager_state is LOADING
    assert rig.state(1).health is BROKEN
    assert rig.state(1).message == "try 1 of 6 failed"
    assert rig.state(1).retry_time == rig.clock.time() + 60

    rig.after(59)
    assert rig.available() == []
    rig.after(1)

    assert rig.available() == [1]
    assert rig.state(1).health is None


def test_after_its_last_try_a_version_is_at_end_with_its_error():
    rig = Rig(max_num_load_retries=1, load_retry_interval_seconds=60.0)

    rig.aspire(rig.data(1, failures=[BROKEN, BROKEN, BROKEN]))
    rig.after(60)

    assert rig.loaders["m", 1].loads == 2
    assert rig.state(1).manager_state is END
    assert rig.state(1).health is BROKEN


def test_a_failed_version_starts_again_with_growing_pauses_for_as_long_as_it_is_aspired():
    rig = Rig(max_num_load_retries=0, recreate_initial_seconds=10.0)
    rig.aspire(rig.data(1, failures=[BROKEN, BROKEN]))

    rig.after(9)
    assert rig.loaders["m", 1].loads == 1
    rig.after(1)
    assert rig.loaders["m", 1].loads == 2
    rig.after(19)
    assert rig.loaders["m", 1].loads == 2
    rig.after(1)

    assert rig.available() == [1]
    assert rig.history[:4] == [(1, START), (1, LOADING), (1, END), (1, START)]


def test_a_bad_new_version_never_removes_the_good_old_one():
    rig = Rig(max_num_load_retries=0)
    rig.aspire(1)

    rig.aspire(rig.data(2, failures=[BROKEN] * 50))
    for _ in range(10):
        rig.after(600)

    assert rig.available() == [1]
    assert rig.loaders["m", 1].unloads == 0


def test_waiting_for_a_retry_occupies_no_load_thread():
    rig = Rig(load=ManualExecutor())
    rig.aspire(rig.data(2, failures=[BROKEN]), rig.data(1))

    rig.load.run_all()
    rig.settle()

    assert rig.available() == [1]
    assert len(rig.load) == 0


def test_unaspiring_a_version_that_waits_for_its_retry_ends_it():
    rig = Rig()
    rig.aspire(rig.data(1, failures=[BROKEN]))

    rig.aspire()
    rig.after(3600)

    assert rig.loaders["m", 1].loads == 1
    assert rig.state(1).manager_state is END
    assert rig.state(1).health is BROKEN


def test_content_that_changed_since_the_failure_is_loaded_once_it_stays_the_same():
    rig = Rig(load_retry_interval_seconds=60.0)
    rig.aspire(rig.data(1, revision="half", failures=[BROKEN]))

    rig.aspire(rig.data(1, revision="whole"))
    assert rig.available() == []
    rig.aspire(rig.data(1, revision="whole"))

    assert rig.available() == [1]


def test_the_same_content_again_does_not_hurry_the_retry():
    rig = Rig(load_retry_interval_seconds=60.0)
    rig.aspire(rig.data(1, revision="same", failures=[BROKEN]))
    first = rig.loaders["m", 1]

    rig.aspire(rig.data(1, revision="same"))

    assert first.loads == 1
    assert rig.available() == []


def test_changed_content_of_a_version_that_serves_is_left_alone():
    rig = Rig()
    rig.aspire(1, revision="a")

    rig.aspire(1, revision="b")

    assert rig.loaders["m", 1].loads == 0
    assert rig.available() == [1]


def test_an_error_from_the_source_is_the_version_s_state():
    rig = Rig()
    error = NotFoundError("no such platform")

    rig.aspire(ServableData(ServableId("m", 1), error=error))

    assert rig.state(1).manager_state is END
    assert rig.state(1).health is error


def test_a_version_recovers_when_the_source_s_error_is_gone():
    rig = Rig()
    rig.aspire(ServableData(ServableId("m", 1), error=BROKEN))

    rig.aspire(1)

    assert rig.available() == [1]


def test_whatever_a_loader_raises_becomes_its_state():
    rig = Rig(max_num_load_retries=0)

    rig.aspire(rig.data(1, failures=[ZeroDivisionError("division by zero")]))

    assert str(rig.state(1).health) == "ZeroDivisionError: division by zero"


def test_an_unload_that_raises_still_ends_the_version(caplog):
    class Clumsy(FakeLoader):
        def unload(self):
            raise RuntimeError("cannot clean up")

    rig = Rig()
    rig.aspire(ServableData(ServableId("m", 1), Clumsy()))

    rig.aspire()

    assert rig.state(1).manager_state is END
    assert "cannot clean up" in caplog.text


# Aspired again while leaving…


def test_a_version_that_is_aspired_again_before_it_went_simply_stays():
    rig = Rig(load=ManualExecutor())
    rig.aspire(1)
    rig.load.run_all()
    rig.settle()
    rig.aspire(2)  # its load hangs, so 1 serves on unaspired

    rig.aspire(1)

    assert rig.available() == [1]
    assert rig.loaders["m", 1].loads == 0


def test_a_version_aspired_again_while_a_handle_delays_its_unload_is_loaded_afresh():
    rig = Rig()
    rig.aspire(1)
    first = rig.loaders["m", 1]
    handle = rig.handle()
    rig.aspire()

    rig.aspire(1)
    assert rig.state(1).manager_state is UNLOADING
    handle.release()
    rig.settle()

    assert first.unloads == 1
    assert rig.loaders["m", 1].loads == 1
    assert rig.available() == [1]


class UnwantedLoader(FakeLoader):
    """Calls `while_loading` in the middle of its load."""

    def __init__(self, while_loading):
        super().__init__()
        self._while_loading = while_loading

    def load(self):
        super().load()
        self._while_loading()


def test_a_version_unaspired_while_it_loads_is_discarded_and_never_available():
    rig = Rig(load=ManualExecutor())
    loader = UnwantedLoader(lambda: rig.aspire())
    rig.aspire(ServableData(ServableId("m", 1), loader))

    rig.load.run_all()
    rig.settle()

    assert (1, AVAILABLE) not in rig.history
    assert isinstance(rig.state(1).health, CancelledError)
    assert str(rig.state(1).health) == "Loading of servable cancelled"
    assert (loader.loads, loader.unloads) == (1, 1)


def test_a_version_unaspired_while_it_waits_for_a_load_thread_is_never_loaded():
    rig = Rig(load=ManualExecutor())
    rig.aspire(1)

    rig.aspire()
    rig.load.run_all()
    rig.settle()

    assert rig.loaders["m", 1].loads == 0
    assert rig.state(1).manager_state is END


def test_a_version_unaspired_and_aspired_again_while_it_loads_becomes_available():
    rig = Rig(load=ManualExecutor())
    rig.aspire(1)
    first = rig.loaders["m", 1]
    rig.aspire()

    rig.aspire(1)
    rig.load.run_all()
    rig.settle()

    assert first.loads == 1
    assert rig.available() == [1]


def test_a_version_skipped_by_its_thread_and_wanted_again_is_loaded_after_all():
    rig = Rig(load=ManualExecutor())
    rig.aspire(1)
    first = rig.loaders["m", 1]
    rig.aspire()
    rig.load.run_one()  # skips it, and reports so

    rig.aspire_only(1)
    rig.settle()
    rig.load.run_all()
    rig.settle()

    assert rig.available() == [1]
    assert first.loads + rig.loaders["m", 1].loads == 1


def test_a_version_unaspired_before_its_turn_ends_without_a_load():
    rig = Rig(lambda versions: None)
    rig.aspire(1)

    rig.aspire()

    assert rig.loaders["m", 1].loads == 0
    assert rig.state(1).manager_state is END


# What plug-ins do wrong…


def test_a_retry_waits_for_the_policy_s_word_like_any_load():
    rig = Rig(resource_preserving, load_retry_interval_seconds=10.0)
    rig.aspire(rig.data(1, failures=[BROKEN]), rig.data(2))
    handle = rig.handle()

    rig.aspire(1)  # 2 has to go, but cannot yet
    rig.after(10)
    assert rig.available() == []
    assert rig.loaders["m", 1].loads == 0
    handle.release()
    rig.settle()

    assert rig.available() == [1]


def test_a_policy_that_returns_nonsense_stops_its_own_name_only(caplog):
    rig = Rig()
    rig.manager.set_policy("bad", lambda versions: "load it")

    rig.aspire(1, name="bad")
    rig.aspire(1, name="m")

    assert rig.available("m") == [1]
    assert "The version policy of bad failed" in caplog.text


def test_versions_that_are_no_numbers_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"must be whole numbers"):
        Rig().aspire("1")


def test_a_load_whose_servable_cannot_be_had_is_unloaded_again():
    class Headless(FakeLoader):
        def servable(self):
            raise BROKEN

    rig = Rig(max_num_load_retries=0)
    loader = Headless()

    rig.aspire(ServableData(ServableId("m", 1), loader))

    assert rig.state(1).health is BROKEN
    assert (loader.loads, loader.unloads) == (1, 1)


def test_a_failed_version_s_error_keeps_nothing_of_the_load_alive():
    class Greedy(FakeLoader):
        def load(self):
            data = bytearray(10)
            raise DataLossError("no good") from ValueError(len(data))

    rig = Rig(max_num_load_retries=0)

    rig.aspire(ServableData(ServableId("m", 1), Greedy()))

    error = rig.state(1).health
    assert str(error) == "no good"
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_all_versions_of_a_list_are_known_before_any_of_them_has_failed():
    rig = Rig(load=ManualExecutor())

    rig.aspire(ServableData(ServableId("m", 1), error=BROKEN), 2)

    assert rig.history.index((2, START)) < rig.history.index((1, END))


# With its own threads…


def test_a_running_manager_loads_what_a_source_emits_and_stops_clean():
    class OneShotSource:
        def set_aspired_versions_callback(self, callback):
            callback("m", [ServableData(ServableId("m", 1), "/models/1")])

    loader = FakeLoader("model")
    adapter = SourceAdapter(lambda servable_id, path: loader)
    with AspiredVersionsManager() as manager:
        connect(adapter, manager.set_aspired_versions)
        connect(OneShotSource(), adapter)
        result = manager.monitor.wait_until_reached([ServableRequest.latest("m")], timeout=30)
        with manager.get_servable_handle(ServableRequest.latest("m")) as handle:
            servable = handle.servable

    assert result.is_success
    assert servable == "model"
    assert (loader.loads, loader.unloads) == (1, 1)


def test_a_slow_request_delays_no_other_transition():
    with AspiredVersionsManager() as manager:
        first, second = FakeLoader("first"), FakeLoader("second")
        manager.set_aspired_versions("m", [ServableData(ServableId("m", 1), first)])
        manager.monitor.wait_until_reached([ServableRequest.specific("m", 1)], timeout=30)
        slow_request = manager.get_servable_handle(ServableRequest.latest("m"))

        manager.set_aspired_versions("m", [ServableData(ServableId("m", 2), second)])
        manager.set_aspired_versions("n", [ServableData(ServableId("n", 1), FakeLoader())])
        result = manager.monitor.wait_until_reached(
            [ServableRequest.specific("m", 2), ServableRequest.latest("n")], timeout=30
        )

        assert result.is_success
        assert first.unloads == 0
        slow_request.release()


def test_a_running_manager_retries_when_the_clock_says_so():
    clock = ManualClock()
    loader = FakeLoader(failures=[BROKEN])
    failed = threading.Event()
    with AspiredVersionsManager(clock=clock) as manager:
        manager.monitor.subscribe(lambda s: failed.set() if s.health else None)
        manager.set_aspired_versions("m", [ServableData(ServableId("m", 1), loader)])
        assert failed.wait(30)

        clock.advance(60)
        result = manager.monitor.wait_until_reached([ServableRequest.latest("m")])

    assert result.is_success
    assert loader.loads == 2


def test_stop_gives_up_on_a_handle_that_is_never_released():
    manager = AspiredVersionsManager()
    manager.start()
    manager.set_aspired_versions("m", [ServableData(ServableId("m", 1), FakeLoader())])
    manager.monitor.wait_until_reached([ServableRequest.latest("m")], timeout=30)
    handle = manager.get_servable_handle(ServableRequest.latest("m"))

    assert manager.stop(timeout=0.05) is False

    handle.release()
    assert manager.stop(timeout=30) is True


def test_stop_unloads_what_was_loaded_though_the_thread_never_ran():
    rig = Rig()
    rig.aspire(1)

    assert rig.manager.stop(timeout=30)

    assert rig.loaders["m", 1].unloads == 1


def test_a_stop_hook_that_fails_does_not_keep_the_models(caplog):
    manager = AspiredVersionsManager()
    manager.add_stop_hook(lambda: 1 / 0)

    assert manager.stop(timeout=30)
    assert "A stop hook failed" in caplog.text


def test_the_manager_survives_a_failure_of_its_own(caplog):
    class BrokenOnce(ManualClock):
        is_broken = False

        def time(self):
            if self.is_broken:
                self.is_broken = False
                raise RuntimeError("the clock stopped")
            return super().time()

    clock = BrokenOnce()
    manager = AspiredVersionsManager(clock=clock)
    manager.start()
    clock.is_broken = True
    manager.set_aspired_versions("m", [ServableData(ServableId("m", 1), FakeLoader())])
    while clock.is_broken or "The manager failed" not in caplog.text:
        threading.Event().wait(0.001)

    manager.set_aspired_versions("n", [ServableData(ServableId("n", 1), FakeLoader())])
    result = manager.monitor.wait_until_reached([ServableRequest.latest("n")])

    assert result.is_success
    manager.stop(timeout=30)
