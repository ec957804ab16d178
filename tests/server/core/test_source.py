from modelserver.core.servable import ServableData, ServableId
from modelserver.core.source import SourceAdapter, connect
from modelserver.errors import InternalError, NotFoundError


class Emitted:
    """A Target that keeps what it was told."""

    def __init__(self):
        self.calls = []

    def __call__(self, name, versions):
        self.calls.append((name, list(versions)))


def data(version, path):
    return ServableData(ServableId("m", version), path, revision=f"r{version}")


def test_an_adapter_converts_each_version_and_keeps_ids_and_revisions():
    emitted = Emitted()
    adapter = SourceAdapter(lambda servable_id, path: f"loader of {servable_id.version} at {path}")
    connect(adapter, emitted)

    adapter("m", [data(1, "/m/1"), data(2, "/m/2")])

    ((name, versions),) = emitted.calls
    assert name == "m"
    assert [v.data for v in versions] == ["loader of 1 at /m/1", "loader of 2 at /m/2"]
    assert [v.revision for v in versions] == ["r1", "r2"]


def test_a_conversion_that_fails_is_that_version_s_error_alone():
    emitted = Emitted()
    adapter = SourceAdapter(lambda servable_id, path: 1 // (servable_id.version - 1))
    connect(adapter, emitted)

    adapter("m", [data(1, "/m/1"), data(2, "/m/2")])

    first, second = emitted.calls[0][1]
    assert isinstance(first.error, InternalError)
    assert second.data == 1


def test_a_conversion_that_returns_nothing_is_that_version_s_error_alone():
    emitted = Emitted()
    adapter = SourceAdapter(lambda servable_id, path: path if servable_id.version == 2 else None)
    connect(adapter, emitted)

    adapter("m", [data(1, "/m/1"), data(2, "/m/2")])

    first, second = emitted.calls[0][1]
    assert first.error is not None
    assert second.data == "/m/2"


def test_errors_from_upstream_pass_through():
    emitted = Emitted()
    adapter = SourceAdapter(lambda servable_id, path: path)
    connect(adapter, emitted)
    error = NotFoundError("gone")

    adapter("m", [ServableData(ServableId("m", 1), error=error)])

    assert emitted.calls[0][1][0].error is error


def test_an_empty_list_reaches_the_target_too():
    emitted = Emitted()
    adapter = SourceAdapter(lambda servable_id, path: path)
    connect(adapter, emitted)

    adapter("m", [])

    assert emitted.calls == [("m", [])]


def test_an_adapter_without_a_target_drops_the_list_and_says_so(caplog):
    SourceAdapter(lambda servable_id, path: path)("m", [data(1, "/m/1")])

    assert "has no target yet" in caplog.text
