from modelserver.admin import (
    ConfigError,
    ConfigSnapshot,
    ModelSnapshot,
    ServerSnapshot,
    SourceSnapshot,
    build_report,
)
from modelserver.admin.page import build_page
from modelserver.core.servable import ServableId
from modelserver.core.state import ManagerState, ServableState
from modelserver.errors import NotFoundError

HOSTILE = "<script>alert('x')</script>"


def page(snapshot, why_not_ready=""):
    document = build_report(snapshot, is_ready=not why_not_ready).document
    return build_page(document, why_not_ready)


def test_the_page_shows_models_versions_and_what_is_wrong():
    version = ServableState(ServableId("mnist", 3), ManagerState.START, message="waiting for: x")
    model = ModelSnapshot(
        "mnist",
        "/models/mnist",
        SourceSnapshot(False, NotFoundError("no such path")),
        states={3: version},
        requested_labels={"stable": 3},
    )
    config = ConfigSnapshot("0011", ConfigError("2233", "not JSON"))

    text = page(ServerSnapshot(models=(model,), config=config), "waiting for a version of: mnist")

    for shown in (
        "Not ready: waiting for a version of: mnist",
        "configuration 0011",
        "not JSON",
        "<h2>mnist</h2>",
        "NotFound: no such path",
        "<td>3</td><td>Start</td><td>Incomplete</td>",
        "waiting for: x",
        "The label stable waits for version 3.",
    ):
        assert shown in text


def test_what_others_write_is_text_and_never_markup():
    version = ServableState(ServableId(HOSTILE, 1), ManagerState.START, message=HOSTILE)
    model = ModelSnapshot(
        HOSTILE,
        HOSTILE,
        SourceSnapshot(True, message=HOSTILE),
        states={1: version},
        requested_labels={HOSTILE: 1},
    )
    config = ConfigSnapshot(HOSTILE, ConfigError(HOSTILE, HOSTILE))

    text = page(ServerSnapshot(models=(model,), pod_name=HOSTILE, config=config), HOSTILE)

    assert "<script" not in text
    assert "&lt;script&gt;" in text
