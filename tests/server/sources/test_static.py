from collections.abc import Sequence

from modelserver.core.servable import ServableData, ServableId
from modelserver.core.source import connect
from modelserver.sources import StaticSource


def test_a_static_source_emits_the_list_of_each_name_once() -> None:
    versions = [
        ServableData(ServableId("a", 1), "path a1"),
        ServableData(ServableId("b", 7), "path b7"),
        ServableData(ServableId("a", 2), "path a2"),
    ]
    emitted: list[tuple[str, Sequence[ServableData[str]]]] = []

    connect(StaticSource(versions), lambda name, data: emitted.append((name, data)))

    assert emitted == [("a", [versions[0], versions[2]]), ("b", [versions[1]])]
