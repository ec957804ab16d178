import re

from modelserver_operator.api.crd import marked_schema
from modelserver_operator.api.reference import reference
from modelserver_operator.api.schema import walk

PAGE = reference()
LINES = PAGE.splitlines()


def row(section: str, field: str) -> list[str]:
    start = LINES.index(f"## {section}")
    for line in LINES[start:]:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and cells[0].strip("*") == field:
            return cells
    raise AssertionError(f"no {field} in {section}")


def test_every_field_has_a_row() -> None:
    fields = marked_schema()["properties"]
    for root in ("spec", "status"):
        for path, _ in walk(fields[root], f".{root}"):
            section, _, field = path.rpartition(".")
            if section and re.search(r"[A-Za-z0-9]$", field):
                assert row(section, field)


def test_a_row_gives_type_default_cost_and_meaning() -> None:
    assert row("spec", "replicas") == [
        "replicas",
        "integer 0…1000",
        "`1`",
        "hot",
        "Number of pods. Not used while autoscaling is set.",
    ]
    assert row("spec", "imagePullPolicy")[1:4] == [
        "`Always` \\| `IfNotPresent` \\| `Never`",
        "",
        "cold",
    ]


def test_a_required_field_is_bold() -> None:
    assert row("spec.models[]", "uri")[0] == "**uri**"
    assert row("spec.models[]", "platform")[0] == "platform"


def test_a_field_costs_what_the_field_around_it_does() -> None:
    assert row("spec.gpu", "count")[3] == "cold"
    assert row("spec.models[].batching", "maxBatchSize")[3] == "hot"


def test_an_exception_from_hot_is_in_the_meaning() -> None:
    cells = row("spec.models[]", "uri")

    assert cells[3] == "hot"
    assert "except that pods restart" in cells[4]


def test_status_has_neither_defaults_nor_costs() -> None:
    assert row("status", "readySummary") == [
        "readySummary",
        "string",
        "Ready pods of those wanted: 2/3.",
    ]


def test_the_type_of_an_object_leads_to_its_section() -> None:
    assert row("spec.models[]", "labels")[1] == "[list of object](#specmodelslabels)"
    assert "## spec.models[].labels[]" in LINES


def test_rules_stand_below_the_table_that_they_are_about() -> None:
    start = LINES.index("## spec.cache")
    section = LINES[start : start + 12]

    assert "- set exactly one of sizeLimit and claimName, such as {sizeLimit: 10Gi}" in section
