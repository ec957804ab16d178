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
from modelserver.core.storage_totals import CacheFill, StorageTotals
from modelserver.core.stored_version import StoredVersion, Transfer
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


def of_one_version(state, stored, mutated=()):
    source = SourceSnapshot(True, mutated=frozenset(mutated))
    model = ModelSnapshot("mnist", "gs://b/mnist", source, {3: state}, stored={3: stored})
    return ServerSnapshot(models=(model,))


def test_a_download_shows_how_far_it_is_as_a_bar_and_in_words():
    state = ServableState(ServableId("mnist", 3), ManagerState.START, None, "downloading")
    transfer = Transfer(size_here=1_200_000, bytes_per_second=45e6, failures=1)

    text = page(of_one_version(state, StoredVersion(3_200_000_000, 12, "gs://b/mnist/3", transfer)))

    assert "<td>3.2 GB in 12 files</td>" in text
    assert (
        '<progress max=3200000000 value=1200000 aria-label="Download of version 3 of mnist">'
        "</progress>1.2 MB of 3.2 GB, 45.0 MB/s, 1 failed try"
    ) in text


def test_a_version_without_a_byte_has_a_bar_too():
    state = ServableState(ServableId("mnist", 3), ManagerState.START, None, "downloading")

    text = page(of_one_version(state, StoredVersion(0, 0, "gs://b/mnist/3", Transfer())))

    assert "<progress max=1 value=0 " in text
    assert "0 bytes of 0 bytes" in text


def test_a_version_that_is_here_shows_where_from_and_how_long_it_took():
    state = ServableState(
        ServableId("mnist", 3), ManagerState.AVAILABLE, first_seen_time=100.0, available_time=112.34
    )
    kept = Transfer(is_here=True, was_kept=True)

    text = page(of_one_version(state, StoredVersion(999, 1, "gs://b/mnist/3", kept)))

    assert "<td>999 bytes in 1 file, from the cache</td>" in text
    assert "1970-01-01T00:01:52Z (after 12.3 s)" in text
    assert "<progress" not in text


def test_a_version_that_was_overwritten_is_marked():
    state = ServableState(ServableId("mnist", 3), ManagerState.AVAILABLE)

    text = page(of_one_version(state, StoredVersion(999, 1), {3}))

    assert "<span class=bad>Mutated</span>" in text
    assert "<span class=bad>overwritten in place" in text


def test_the_cache_shows_how_full_it_is():
    limited = ServerSnapshot(storage=StorageTotals(cache=CacheFill(12_300_000_000, 3, 5 * 10**10)))
    unlimited = ServerSnapshot(storage=StorageTotals(cache=CacheFill(1000, 1)))

    assert (
        '<meter max=50000000000 value=12300000000 aria-label="Cache"></meter>'
        "Cache: 3 versions, 12.3 GB of 50.0 GB"
    ) in page(limited)
    assert "<p>Cache: 1 version, 1.0 kB</p>" in page(unlimited)
    assert "Cache" not in page(ServerSnapshot())
