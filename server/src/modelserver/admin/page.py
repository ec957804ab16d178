"""The status page at `/`: the report as HTML for people, without scripts. Pure."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #ccc}"
    ".bad{color:#a00}.good{color:#060}"
)

_COLUMNS = ("Version", "State", "Reason", "Labels", "First seen", "Available since", "Message")


def build_page(document: Mapping[str, Any], why_not_ready: str) -> str:
    """Lay out a report; `why_not_ready` is empty for a server that is ready."""
    title = document["podName"] or "modelserver"
    parts = [
        f"<h1>{_text(title)}</h1>",
        _verdict(why_not_ready),
        f"<p>modelserver {_text(document['serverVersion'])}, {_configuration(document)}</p>",
        *(_model(model) for model in document["models"]),
        "<p><a href=/status>status</a> <a href=/metrics>metrics</a> <a href=/readyz>readyz</a> "
        "<a href=/livez>livez</a></p>",
    ]
    head = f"<meta charset=utf-8><title>{_text(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _verdict(why_not_ready: str) -> str:
    if why_not_ready:
        return f"<p class=bad>Not ready: {_text(why_not_ready)}</p>"
    return "<p class=good>Ready</p>"


def _configuration(document: Mapping[str, Any]) -> str:
    error = document["configError"]
    other = "none yet" if error else "from the command line"
    text = f"configuration {_text(document['configHash'] or other)}"
    if error:
        text += f"; <span class=bad>a newer one is refused: {_text(error['message'])}</span>"
    return text


def _model(model: Mapping[str, Any]) -> str:
    source = model["source"]
    heading = f"<h2>{_text(model['name'])}</h2><p>{_text(model['basePath'])}</p>"
    if source["accessible"] is False:
        heading += f"<p class=bad>{_text(source['reason'])}: {_text(source['message'])}</p>"
    elif source["message"]:
        heading += f"<p>{_text(source['message'])}</p>"
    rows = [_row("th", _COLUMNS), *(_row("td", _cells(version)) for version in model["versions"])]
    waiting = [label for label in model["labels"] if label["pending"]]
    notes = "".join(
        f"<p>The label {_text(label['name'])} waits for version {_text(label['version'])}.</p>"
        for label in waiting
    )
    return f"{heading}<table>{''.join(rows)}</table>{notes}"


def _cells(version: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        version["version"],
        version["state"],
        version["reason"],
        ", ".join(version["labels"]),
        version["firstSeenTime"] or "",
        version["availableTime"] or "",
        version["message"],
    )


def _row(tag: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>"


def _text(value: object) -> str:
    return escape(str(value))
