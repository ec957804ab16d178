"""A version number that comes from another place: another version takes the place of the first."""

import pytest

from modelserver.core.aspired_versions_manager import AspiredVersionsManager, ManagerOptions
from modelserver.core.harness import RetryOptions
from modelserver.core.policy import availability_preserving, resource_preserving
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.core.state import ManagerState
from modelserver.errors import DataLossError, NotFoundError
from modelserver.testing.clock import ManualClock
from modelserver.testing.executor import InlineExecutor, ManualExecutor
from modelserver.testing.loader import FakeLoader

START, LOADING, AVAILABLE, UNLOADING, END = ManagerState
BROKEN = DataLossError("saved_model.pb is truncated")


class Rig:
    """A manager whose loads happen when the test says so, driven step by step."""

    def __init__(self, policy=availability_preserving):
        self.clock = ManualClock()
        self.load = ManualExecutor()
        options = ManagerOptions(retry=RetryOptions(max_num_load_retries=0))
        self.manager = AspiredVersionsManager(
            policy, options, clock=self.clock, executors=(self.load, InlineExecutor())
        )
        self.history = []
        self.manager.monitor.subscribe(lambda s: self.history.append(s.manager_state))

    def aspire(self, *origins, failures=(), version=1):
        """Aspire `version` from the one origin, or nothing; return its Loader."""
        loaders = [FakeLoader(f"{version} from {origin}", failures) for origin in origins]
        data = [
            ServableData(ServableId("m", version), loader, origin=origin)
            for origin, loader in zip(origins, loaders, strict=True)
        ]
        self.manager.set_aspired_versions("m", data)
        self.settle()
        return loaders[0] if loaders else None

    def serve(self, origin, version=1):
        loader = self.aspire(origin, version=version)
        self.run_loads()
        assert self.served() == f"{version} from {origin}"
        self.history.clear()
        return loader

    def run_loads(self):
        self.load.run_all()
        self.settle()

    def settle(self):
        while self.manager.step():
            pass

    def served(self):
        with self.manager.get_servable_handle(ServableRequest.latest("m")) as handle:
            return handle.servable

    def state(self):
        return self.manager.monitor.get_state(ServableId("m", 1))


def test_the_first_serves_until_the_second_is_loaded():
    rig = Rig()
    old = rig.serve("a")

    new = rig.aspire("b")
    assert rig.served() == "1 from a"
    rig.run_loads()

    assert rig.served() == "1 from b"
    assert (old.is_loaded, new.is_loaded) == (False, True)
    assert rig.history == [AVAILABLE]  # it has never been anything else for those outside


def test_a_request_that_holds_the_first_keeps_it_until_it_is_over():
    rig = Rig()
    old = rig.serve("a")
    handle = rig.manager.get_servable_handle(ServableRequest.latest("m"))

    rig.aspire("b")
    rig.run_loads()
    assert (old.is_loaded, rig.served()) == (True, "1 from b")
    handle.release()
    rig.settle()

    assert not old.is_loaded
    assert rig.state().manager_state is AVAILABLE


def test_resources_are_freed_first_where_the_policy_says_so():
    rig = Rig(resource_preserving)
    old = rig.serve("a")

    rig.aspire("b")

    assert not old.is_loaded
    with pytest.raises(NotFoundError):
        rig.served()
    rig.run_loads()
    assert rig.served() == "1 from b"
    assert rig.history == [UNLOADING, START, LOADING, AVAILABLE]


def test_one_that_fails_to_load_leaves_the_first_serving_and_shows_why():
    rig = Rig()
    rig.serve("a")

    rig.aspire("b", failures=[BROKEN])
    rig.run_loads()

    assert rig.served() == "1 from a"
    assert rig.state().manager_state is AVAILABLE
    assert rig.state().health is BROKEN
    assert rig.state().retry_time is not None


def test_one_that_loads_at_a_later_try_takes_over():
    rig = Rig()
    old = rig.serve("a")
    rig.aspire("b", failures=[BROKEN])
    rig.run_loads()

    rig.clock.advance(10)
    rig.settle()
    rig.run_loads()

    assert rig.served() == "1 from b"
    assert not old.is_loaded
    assert (rig.state().manager_state, rig.state().health) == (AVAILABLE, None)


def test_a_load_that_is_overtaken_by_another_place_is_discarded():
    rig = Rig()
    overtaken = rig.aspire("a")

    rig.aspire("b")
    rig.run_loads()

    assert rig.served() == "1 from b"
    assert not overtaken.is_loaded
    assert rig.history == [START, LOADING, START, LOADING, AVAILABLE]


def test_one_that_failed_is_replaced_at_once():
    rig = Rig()
    rig.aspire("a", failures=[BROKEN])
    rig.run_loads()

    rig.aspire("b")
    rig.run_loads()

    assert rig.served() == "1 from b"


def test_going_back_and_forth_ends_with_the_last_word():
    rig = Rig()
    loaders = [rig.serve("a")]

    loaders += [rig.aspire(origin) for origin in ("b", "a", "c")]
    rig.run_loads()

    assert rig.served() == "1 from c"
    assert [loader.is_loaded for loader in loaders] == [False, False, False, True]
    assert rig.manager.step() is False


def test_both_are_unloaded_when_nothing_is_aspired_any_more():
    rig = Rig()
    old = rig.serve("a")
    new = rig.aspire("b")

    rig.aspire()
    rig.run_loads()

    assert (old.is_loaded, new.is_loaded) == (False, False)
    assert rig.state().manager_state is END


def test_a_new_number_takes_over_from_one_whose_replacement_is_broken():
    rig = Rig()
    old = rig.serve("a")
    rig.aspire("b", failures=[BROKEN])
    rig.run_loads()

    rig.aspire("b", version=2)
    rig.run_loads()

    assert rig.served() == "2 from b"
    assert not old.is_loaded
    assert rig.state().manager_state is END


def test_a_failed_replacement_shows_its_error_once_the_first_has_left():
    rig = Rig()
    rig.serve("a")
    broken = ServableData(ServableId("m", 1), FakeLoader(failures=[BROKEN]), origin="b")
    good = ServableData(ServableId("m", 2), FakeLoader(), origin="b")

    rig.manager.set_aspired_versions("m", [broken, good])
    rig.settle()
    rig.run_loads()
    rig.run_loads()

    assert (rig.state().manager_state, rig.state().health) == (END, BROKEN)


def test_stopping_unloads_what_has_been_superseded_too():
    rig = Rig()
    old = rig.serve("a")
    new = rig.aspire("b")

    rig.load.run_all()
    assert rig.manager.stop(30)

    assert (old.is_loaded, new.is_loaded) == (False, False)


def test_of_several_versions_each_serves_until_its_own_number_is_loaded():
    rig = Rig()

    def aspire(origin):
        loaders = {v: FakeLoader(f"{v} from {origin}") for v in (1, 2)}
        data = [ServableData(ServableId("m", v), loaders[v], origin=origin) for v in loaders]
        rig.manager.set_aspired_versions("m", data)
        rig.settle()
        return loaders

    def served():
        requests = [ServableRequest.specific("m", version) for version in (1, 2)]
        return [rig.manager.get_servable_handle(request) for request in requests]

    old = aspire("a")
    rig.run_loads()
    aspire("b")
    while len(rig.load):
        for handle in served():
            handle.release()
        rig.load.run_one()
        rig.settle()

    handles = served()
    assert [handle.servable for handle in handles] == ["1 from b", "2 from b"]
    assert not any(loader.is_loaded for loader in old.values())
    for handle in handles:
        handle.release()
