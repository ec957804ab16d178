"""The status page at `/`: the report as HTML for people, without scripts. Pure."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;"
    "border-bottom:1px solid #ccc}"
    "progress,meter{width:12rem;margin-right:.6rem}"
    ".bad{color:#a00}.good{color:#060}"
)

_COLUMNS = (
    *("Version", "State", "Reason", "Labels", "Files"),
    *("First seen", "Available since", "Message"),
)
_BAD_REASONS = ("LoadFailed", "Mutated")


def build_page(document: Mapping[str, Any], why_not_ready: str) -> str:
    """Lay out a report; `why_not_ready` is empty for a server that is ready."""
    title = document["podName"] or "modelserver"
    parts = [
        f"<h1>{_text(title)}</h1>",
        _verdict(why_not_ready),
        f"<p>modelserver {_text(document['serverVersion'])}, {_configuration(document)}</p>",
        _cache(document["progress"]["storage"]["cache"]),
        *(_model(model, document["progress"]) for model in document["models"]),
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


def _cache(cache: Mapping[str, Any] | None) -> str:
    if cache is None:
        return ""
    size, limit = cache["bytes"], cache["limitBytes"]
    text = f"Cache: {_count(cache['versions'], 'version')}, {_bytes(size)}"
    if limit is None:
        return f"<p>{text}</p>"
    meter = f'<meter max={limit} value={size} aria-label="Cache"></meter>'
    return f"<p>{meter}{text} of {_bytes(limit)}</p>"


def _model(model: Mapping[str, Any], progress: Mapping[str, Any]) -> str:
    source = model["source"]
    heading = f"<h2>{_text(model['name'])}</h2><p>{_text(model['basePath'])}</p>"
    if source["accessible"] is False:
        heading += f"<p class=bad>{_text(source['reason'])}: {_text(source['message'])}</p>"
    elif source["message"]:
        heading += f"<p>{_text(source['message'])}</p>"
    downloads = {d["version"]: d for d in progress["downloads"] if d["model"] == model["name"]}
    cells = (_cells(version, downloads.get(version["version"])) for version in model["versions"])
    rows = [_row("th scope=col", _COLUMNS), *(_row("td", row) for row in cells)]
    waiting = [label for label in model["labels"] if label["pending"]]
    notes = "".join(
        f"<p>The label {_text(label['name'])} waits for version {_text(label['version'])}.</p>"
        for label in waiting
    )
    return f"{heading}<table>{''.join(rows)}</table>{notes}"


def _cells(version: Mapping[str, Any], download: Mapping[str, Any] | None) -> tuple[str, ...]:
    reason = _text(version["reason"])
    message = _text(version["message"])
    if version["reason"] in _BAD_REASONS:
        reason, message = (f"<span class=bad>{text}</span>" for text in (reason, message))
    return (
        _text(version["version"]),
        _text(version["state"]),
        reason,
        _text(", ".join(version["labels"])),
        _files(version["storage"]),
        _text(version["firstSeenTime"] or ""),
        _available(version),
        message if download is None else f"{message}<br>{_download(download)}",
    )


def _files(storage: Mapping[str, Any]) -> str:
    if storage["bytes"] is None:
        return ""
    origin = {True: ", from the cache", False: ", downloaded"}.get(storage["cacheHit"], "")
    return f"{_bytes(storage['bytes'])} in {_count(storage['files'], 'file')}{origin}"


def _available(version: Mapping[str, Any]) -> str:
    seconds = version["storage"]["secondsToAvailable"]
    after = "" if seconds is None else f" (after {seconds:.1f} s)"
    return f"{_text(version['availableTime'] or '')}{after}"


def _download(download: Mapping[str, Any]) -> str:
    done, total = download["bytesDone"], download["bytesTotal"]
    name = f"Download of version {download['version']} of {download['model']}"
    bar = f'<progress max={max(total, 1)} value={done} aria-label="{_text(name)}"></progress>'
    text = f"{_bytes(done)} of {_bytes(total)}, {_bytes(download['bytesPerSecond'])}/s"
    failures = download["failures"]
    failed = f", {_count(failures, 'failed try', 'failed tries')}" if failures else ""
    return f"{bar}{text}{failed}"


def _bytes(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _row(tag: str, cells: Iterable[str]) -> str:
    """A row of a table; the cells are HTML."""
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag.split()[0]}>' for cell in cells)}</tr>"


def _text(value: object) -> str:
    return escape(str(value))
