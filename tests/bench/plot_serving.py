"""Draw what `bench_serving.py` has measured. Usage: plot_serving.py JSON FOLDER TITLES, in the
environment of peers/requirements/plots.txt; TITLES is JSON, from names to what is written.
"""

import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "serving"  # the same figures give the same file

import matplotlib.pyplot as plt  # noqa: E402  # after the choice of what draws

OURS, LIMIT = "#1f6feb", "#8b949e"
LINES = {"grpc": "--", "parsed": (0, (3, 1)), "plain": ":", "tls": "-."}
"""Of our own ones, by what their names end with."""


def main(json_file: str, folder: str, titles: str) -> None:
    """Draw both plots."""
    rows = [row for row in json.loads(Path(json_file).read_text())["records"] if row["outcome"]]
    Path(folder).mkdir(parents=True, exist_ok=True)
    names = json.loads(titles)
    _bars(rows, names, Path(folder) / "serving-throughput.svg")
    _latency(rows, names, Path(folder) / "serving-latency.svg")


def _bars(rows: list[dict], names: dict[str, str], file: Path) -> None:
    """Requests a second and processor time a request, softmax, 4 x 32."""
    chosen = {name: _medians(rows, name, "4x32") for name in names}
    peers = [name for name in names if chosen[name]][::-1]
    figure, axes = plt.subplots(1, 2, figsize=(11, 0.4 * len(peers) + 1.5), sharey=True)
    for axis, key, title in zip(
        axes, ("rps", "cpu"), ("requests a second", "CPU µs a request"), strict=True
    ):
        values = [chosen[name][key] for name in peers]
        axis.barh([names[n] for n in peers], values, color=[_colour(n) for n in peers])
        axis.set_xscale("log")
        axis.set_xlabel(f"{title} (logarithmic)")
        for place, value in enumerate(values):
            axis.text(value, place, f" {value:,.0f}", va="center", fontsize=8)
        axis.margins(x=0.15)
    figure.suptitle("softmax 784→10, 4 connections × 32 calls")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def _latency(rows: list[dict], names: dict[str, str], file: Path) -> None:
    """Median latency against throughput. Closed loads are joined, fewest outstanding first."""
    figure, axis = plt.subplots(figsize=(10, 6.5))
    colours = plt.get_cmap("tab20").colors
    for number, (name, title) in enumerate(names.items()):
        closed = _points(rows, name, ("1x1", "64x1", "4x32"))
        is_ours = name.startswith(("ours", "limit"))
        style = {"color": _colour(name) if is_ours else colours[number % len(colours)]}
        line = LINES.get(name.partition("-")[2], "-")
        if closed:
            axis.plot(*zip(*closed, strict=True), linestyle=line, marker="o", label=title, **style)
        for point in _points(rows, name, ("half", "6000/s")):
            axis.plot(*point, marker="s", fillstyle="none", linestyle="none", **style)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("requests a second")
    axis.set_ylabel("median latency, ms")
    axis.set_title(
        "softmax 784→10: 1, 64 and 128 calls outstanding (circles);\n"
        "at half of the most and at 6,000 a second (squares)"
    )
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def _points(rows: list[dict], name: str, loads: tuple[str, ...]) -> list[tuple[float, float]]:
    medians = [_medians(rows, name, load) for load in loads]
    return [(found["rps"], found["p50"] / 1e3) for found in medians if found]


def _medians(rows: list[dict], peer: str, load: str) -> dict[str, float]:
    own = [
        row["outcome"]
        for row in rows
        if (row["peer"], row["model"], row["load"], row["scale"]) == (peer, "softmax", load, "")
    ]
    if not own:
        return {}
    return {key: statistics.median(outcome[key] for outcome in own) for key in own[0]}


def _colour(name: str) -> str:
    return OURS if name.startswith("ours") else LIMIT if name.startswith("limit") else "#c9731a"


if __name__ == "__main__":
    main(*sys.argv[1:])
