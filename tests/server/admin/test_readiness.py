import pytest

from modelserver.admin import (
    ConfigError,
    ConfigSnapshot,
    ModelSnapshot,
    Readiness,
    ServerSnapshot,
)
from modelserver.core.servable import ServableId
from modelserver.core.state import ManagerState, ServableState

GOOD = ModelSnapshot(
    "good", "/good", states={1: ServableState(ServableId("good", 1), ManagerState.AVAILABLE)}
)
BAD = ModelSnapshot("bad", "/bad")
UNAWAITED = ModelSnapshot("other", "/other", is_awaited=False)


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        (
            ServerSnapshot(is_configured=False, models=()),
            "no configuration yet",
        ),
        (
            ServerSnapshot(
                is_configured=False, config=ConfigSnapshot(error=ConfigError("", "no such file"))
            ),
            "no configuration yet: no such file",
        ),
        (ServerSnapshot(models=(GOOD,)), "starting: the gRPC port is not open yet"),
        (
            ServerSnapshot(models=(GOOD, BAD, UNAWAITED), is_accepting=True),
            "waiting for a version of: bad",
        ),
        (ServerSnapshot(models=(GOOD, UNAWAITED), is_accepting=True), ""),
        (ServerSnapshot(models=(), is_accepting=True), ""),
        (
            ServerSnapshot(models=(GOOD,), is_accepting=True, is_draining=True),
            "draining: the server is stopping",
        ),
    ],
)
def test_a_server_that_starts_waits_for_its_configuration_its_port_and_its_models(snapshot, reason):
    assert Readiness().why_not(snapshot) == reason


def test_once_ready_a_server_stays_so_whatever_becomes_of_its_models():
    readiness = Readiness()
    readiness.why_not(ServerSnapshot(models=(GOOD,), is_accepting=True))

    assert readiness.why_not(ServerSnapshot(models=(GOOD, BAD), is_accepting=True)) == ""


def test_draining_takes_readiness_away_for_good():
    readiness = Readiness()
    readiness.why_not(ServerSnapshot(models=(GOOD,), is_accepting=True))

    assert readiness.why_not(ServerSnapshot(is_accepting=True, is_draining=True)) != ""
