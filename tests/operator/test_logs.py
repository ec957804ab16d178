"""Log lines."""

import json
import logging

from modelserver_operator.logs import JsonFormatter


def record(message: str, *arguments: object, error: BaseException | None = None) -> str:
    caught = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("a.b", logging.WARNING, "file", 1, message, arguments, caught)
    return JsonFormatter().format(made)


def test_a_line_is_one_json_object() -> None:
    line = json.loads(record("took %d\nseconds", 3))

    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "a.b", "message": "took 3\nseconds"}


def test_a_traceback_stays_on_the_line() -> None:
    text = record("failed", error=ValueError("why"))

    assert "\n" not in text
    assert "ValueError: why" in json.loads(text)["traceback"]
