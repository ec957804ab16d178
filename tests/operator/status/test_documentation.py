"""docs/status.md explains every condition, reason and event, and no others."""

import re
from pathlib import Path

from modelserver_operator.events import TOLD, EventReason
from modelserver_operator.status import Aspect, Reason

PAGE = (Path(__file__).parents[3] / "docs" / "status.md").read_text()


def rows_by_section() -> dict[str, list[list[str]]]:
    """The cells of the table of each section."""
    titles_and_texts = re.split(r"^## (\w+)$", PAGE, flags=re.MULTILINE)[1:]
    return {
        title: [
            [cell.strip() for cell in line.strip("|").split(" | ")]
            for line in text.splitlines()
            if line.startswith("| ") and not line.startswith(("| status", "| type"))
        ]
        for title, text in zip(titles_and_texts[::2], titles_and_texts[1::2], strict=True)
    }


SECTIONS = rows_by_section()
CONDITIONS = {title: rows for title, rows in SECTIONS.items() if title in set(Aspect)}


def test_every_condition_has_a_section_in_the_order_of_the_status() -> None:
    assert list(CONDITIONS) == list(Aspect)


def test_the_reasons_on_the_page_are_those_in_the_code() -> None:
    explained = {row[1] for rows in CONDITIONS.values() for row in rows}

    assert explained == set(Reason)


def test_no_reason_is_explained_twice_for_a_condition() -> None:
    for title, rows in CONDITIONS.items():
        pairs = [(row[0], row[1]) for row in rows]
        assert len(pairs) == len(set(pairs)), title


def test_every_trouble_comes_with_what_to_do() -> None:
    for title, rows in CONDITIONS.items():
        for status, reason, *rest in rows:
            is_asked_for = reason in ("Suspended", "ScaledToZero")
            if status == "False" and not is_asked_for:
                assert len(rest) == 2, (title, reason)
                assert rest[1], (title, reason)


def test_the_events_on_the_page_are_those_in_the_code() -> None:
    assert [row[1] for row in SECTIONS["Events"]] == list(EventReason)


def test_every_event_of_a_condition_belongs_to_a_reason_that_the_condition_has() -> None:
    documented = {(title, row[1]) for title, rows in CONDITIONS.items() for row in rows}

    assert TOLD.keys() <= documented
