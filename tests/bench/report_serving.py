"""What `bench_serving.py` has measured: tables in docs/performance.md, plots in docs/plots."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import tight_loop
from model_store import MODELS
from peers.environment import NotInstallableError, install
from peers.registry import ELSEWHERE, PEERS
from serving_load import DISTURBED, SATURATION

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "plots"
BEGIN, END = "<!-- serving: begin -->", "<!-- serving: end -->"
YARDSTICKS, LIMIT = ("triton", "triton-tf"), "limit"
"""What the ratios are to: Triton with the same model."""

OWN = "ours-native"
"""modelserver, where it is shown alone."""

LOOP = tight_loop.NAME

Row: TypeAlias = dict[str, Any]
"""A record of the JSON file."""


@dataclass(frozen=True, slots=True)
class Results:
    """The content of the JSON file."""

    machine: dict[str, str]
    versions: dict[str, str]
    unavailable: dict[str, str]
    seconds: float
    rows: tuple[Row, ...]
    """The measurements that there are."""

    @classmethod
    def read(cls, file: Path) -> "Results":
        """Read the file."""
        content = json.loads(file.read_text())
        records = content["records"]
        rows = tuple(row for row in records if row["outcome"] is not None)
        measured = {row["peer"] for row in rows}
        failed = {row["peer"]: row["reason"] for row in records if row["peer"] not in measured}
        reasons = failed | content["unavailable"]
        return cls(content["machine"], content["versions"], reasons, content["seconds"], rows)

    def of(self, **wanted: object) -> list[Row]:
        """The records with these values, by round."""
        found = [row for row in self.rows if all(row[k] == v for k, v in wanted.items())]
        return sorted(found, key=lambda row: row["round"])

    def values(self, name: str, **wanted: object) -> dict[int, float]:
        """One quantity of an outcome, by round."""
        return {row["round"]: row["outcome"][name] for row in self.of(**wanted)}


def publish(file: Path) -> None:
    """Put the tables into the page between its marks, and draw the plots."""
    results = Results.read(file)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n\n".join(sections(results))
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    print(f"Written to {PAGE}")
    _draw(file)


def _draw(file: Path) -> None:
    try:
        environment = install("plots")
    except NotInstallableError as error:
        print(f"No plots: {error}", file=sys.stderr)
        return
    script = Path(__file__).with_name("plot_serving.py")
    titles = json.dumps({peer.name: peer.title.replace("**", "") for peer in PEERS.values()})
    command = [str(environment.python), str(script), str(file), str(PLOTS), titles]
    subprocess.run(command, check=True)
    print(f"Drawn in {PLOTS}")


def sections(results: Results) -> Iterator[str]:
    """Headings and tables, in Markdown."""
    yield _conditions(results)
    yield "### The same softmax everywhere: 784 numbers in, 10 out, numpy"
    yield _saturation_table(results, "softmax", "")
    yield _latency_table(results)
    if results.of(load=DISTURBED.name):
        yield "### While metrics and status are read each second, 4 × 32"
        yield _disturbed_table(results)
    for name, model in MODELS.items():
        if name != "softmax" and results.of(model=name, load="4x32", scale=""):
            yield f"### {model.title}"
            yield _saturation_table(results, name, "")
    if results.of(peer=LOOP):
        yield "### Beside the model alone"
        yield _loop_table(results)
    yield from _scales(results)
    yield _setups(results)


def _conditions(results: Results) -> str:
    machine = results.machine
    rounds = 1 + max(row["round"] for row in results.rows)
    return (
        f"Measured on {machine['date']}: {machine['cores']} virtual processors"
        f" ({machine['processor']}), {machine['memory']}, Python {machine['python']}; {rounds}"
        f" round(s) of {results.seconds:g} s after a second of warm-up, servers in turn. Server and"
        " load share the processors. Every answer is compared with the right one. Ratios are"
        " within a round; figures are minimum / **median** / maximum."
    )


def _saturation_table(results: Results, model: str, scale: str) -> str:
    wanted = {"model": model, "load": "4x32", "scale": scale}
    lines = [
        "| | requests/s | × Triton | of the limit | CPU µs/request | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    yardstick = next(
        (found for name in YARDSTICKS if (found := results.values("rps", peer=name, **wanted))), {}
    )
    limit = results.values("rps", peer=LIMIT, **wanted)
    for name, peer in PEERS.items():
        rps = results.values("rps", peer=name, **wanted)
        if not rps:
            continue
        cells = [
            peer.title,
            _spread(rps.values(), _count) + _failed(results, peer=name, **wanted),
            _ratio(rps, yardstick),
            _ratio(rps, limit),
            _spread(results.values("cpu", peer=name, **wanted).values(), _figure),
            _median(results.values("p50", peer=name, **wanted), 1e-3),
            _median(results.values("p99", peer=name, **wanted), 1e-3),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _latency_table(results: Results) -> str:
    loads = ("1x1", "64x1", "6000/s", "half")
    lines = [
        "| p50 / p99, ms | " + " | ".join(_LOAD_TITLES[load] for load in loads) + " |",
        "|---|" + "---|" * len(loads),
    ]
    for name, peer in PEERS.items():
        cells = [_latency(results, name, load) for load in loads]
        if any(cells):
            lines.append(f"| {peer.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


_LOAD_TITLES = {
    "1x1": "one call at a time",
    "64x1": "64 connections, one call each",
    "6000/s": "6,000 a second",
    "half": "half of its own most",
}


def _latency(results: Results, peer: str, load: str) -> str:
    wanted = {"peer": peer, "model": "softmax", "load": load, "scale": ""}
    p50, p99 = results.values("p50", **wanted), results.values("p99", **wanted)
    if not p50:
        return ""
    text = f"{_median(p50, 1e-3)} / {_median(p99, 1e-3)}"
    if load == "64x1":
        text += f" ({_count(statistics.median(results.values('rps', **wanted).values()))}/s)"
    return text + _failed(results, **wanted)


def _disturbed_table(results: Results) -> str:
    """Each disturbed load beside the undisturbed one of the same round and server."""
    lines = [
        "| | undisturbed, requests/s | disturbed | ratio | undisturbed, p99 ms | disturbed |",
        "|---|---|---|---|---|---|",
    ]
    for name, peer in PEERS.items():
        calm, disturbed = (
            {"peer": name, "model": "softmax", "load": load.name, "scale": ""}
            for load in (SATURATION, DISTURBED)
        )
        rates = [results.values("rps", **wanted) for wanted in (calm, disturbed)]
        if not rates[1]:
            continue
        cells = [
            *(_spread(found.values(), _count) for found in rates),
            _ratio(rates[1], rates[0]) + _failed(results, **disturbed),
            *(_median(results.values("p99", **wanted), 1e-3) for wanted in (calm, disturbed)),
        ]
        lines.append(f"| {peer.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _failed(results: Results, **wanted: object) -> str:
    """How many answers were wrong or missing, if any."""
    count = sum(results.values("failures", **wanted).values())
    return f", **{count:.0f} failed**" if count else ""


def _loop_table(results: Results) -> str:
    """Rows of single-row requests beside rows in a tight loop."""
    lines = [
        "| rows/s | loop, alone | loop, beside a load | modelserver | of the loop beside a load |",
        "|---|---|---|---|---|",
    ]
    for name, model in MODELS.items():
        alone, beside = (
            results.values("rps", peer=LOOP, model=name, load=load) for load in ("alone", "beside")
        )
        own = results.values("rps", peer=OWN, model=name, load="4x32", scale="")
        if alone:
            cells = [_spread(values.values(), _count) for values in (alone, beside, own)]
            lines.append(f"| {model.title} | {' | '.join(cells)} | {_ratio(own, beside)} |")
    return "\n".join(lines)


def _scales(results: Results) -> Iterator[str]:
    for scale, title, label in (
        ("rows", "Rows in a request, 4 × 32", lambda row: f"{row['rows']}"),
        ("models", "Models, all of them called, 4 × 32", lambda row: f"{row['models']}"),
        ("versions", "Versions, all of them called, 4 × 32", lambda row: f"{row['versions']}"),
        ("payload", "Size of a request, 4 × 4", lambda row: _size(row["request_bytes"])),
    ):
        if rows := results.of(scale=scale):
            yield f"### {title}, requests/s"
            yield _scale_table(rows, label)


def _scale_table(rows: Sequence[Row], label: Callable[[Row], str]) -> str:
    varied = ("rows", "models", "versions", "request_bytes")
    ordered = sorted(rows, key=lambda row: [row[name] for name in varied])
    labels = list(dict.fromkeys(label(row) for row in ordered))

    def rates(peer: str) -> list[dict[int, float]]:
        """Of each column, by round."""
        own = [(label(row), row) for row in ordered if row["peer"] == peer]
        return [{r["round"]: r["outcome"]["rps"] for at, r in own if at == one} for one in labels]

    lines = [f"| | {' | '.join(labels)} |", "|---|" + "---|" * len(labels)]
    limits = rates(LIMIT)
    for name, peer in PEERS.items():
        own = rates(name)
        if any(own):
            cells = [_spread(found.values(), _count) for found in own]
            lines.append(f"| {peer.title} | {' | '.join(cells)} |")
        if name == OWN and any(own) and any(limits):
            shares = [_ratio(found, limit) for found, limit in zip(own, limits, strict=True)]
            lines.append(f"| – of the limit | {' | '.join(shares)} |")
    return "\n".join(lines)


def _setups(results: Results) -> str:
    lines = ["### How they were set up", "", "| | version | |", "|---|---|---|"]
    for name, peer in PEERS.items():
        reason = results.unavailable.get(name)
        setup = f"not measured: {reason}" if reason else peer.setup
        lines.append(f"| {peer.title} | {results.versions.get(name, '')} | {setup} |")
    lines += [f"| {name} | | not measured: {reason} |" for name, reason in ELSEWHERE.items()]
    return "\n".join(lines)


def _ratio(own: dict[int, float], other: dict[int, float]) -> str:
    return _spread([own[r] / other[r] for r in own if other.get(r)], lambda x: f"{x:.2f}")


def _spread(values: Sequence[float] | Any, text: Callable[[float], str]) -> str:
    ordered = sorted(values)
    if not ordered:
        return ""
    middle = f"**{text(statistics.median(ordered))}**"
    return f"{text(ordered[0])} / {middle} / {text(ordered[-1])}" if len(ordered) > 1 else middle


def _median(values: dict[int, float], factor: float) -> str:
    return _figure(statistics.median(values.values()) * factor) if values else ""


def _figure(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 100_000 else f"{num_bytes / 1e3:.0f} kB"


if __name__ == "__main__":
    publish(Path(sys.argv[1]))
