"""Measure the manager, the scheduler, the transports and batching here. Prints tables, writes JSON.

Figures are minimum, median and maximum over the rounds; compare within one run. Nothing here passes
or fails.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

import bench_manager
import bench_prediction
import bench_saved_model
import bench_scheduler
import bench_transport
from measure import Figure, table


def main(argv: list[str]) -> int:
    """Run the benchmarks that the command line selects. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of each measurement (default: %(default)s)"
    )
    names = ("manager", "scheduler", "prediction", "transport", "saved_model")
    parser.add_argument("only", nargs="*", choices=[*names, []], help="which to run (default: all)")
    options = parser.parse_args(argv)
    report: dict[str, list[dict[str, object]]] = {}
    for name in options.only or names:
        print(f"Measuring {name}: {options.rounds} rounds…", file=sys.stderr)
        figures = measure(name, options.rounds, options.seconds)
        print(table(name, figures), flush=True)
        report[name] = [figure.as_json() for figure in figures]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        machine = {"machine": platform.platform(), "python": platform.python_version()}
        options.json.write_text(json.dumps(machine | report, indent=1))
        print(f"Written to {options.json}")
    return 0


def measure(name: str, rounds: int, seconds: float) -> list[Figure]:
    """Run one benchmark."""
    if name == "manager":
        return bench_manager.run(rounds, seconds / 2)
    if name == "scheduler":
        return bench_scheduler.run(rounds)
    if name == "prediction":
        return bench_prediction.run(rounds)
    if name == "transport":
        return bench_transport.run(rounds, seconds)
    return bench_saved_model.run(rounds, seconds * 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
