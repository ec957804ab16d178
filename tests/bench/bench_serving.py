"""Compare modelserver with every other model server that can be had on this machine.

Servers take turns, round by round, one at a time: each is started, answers are checked against
numpy, the loads run, it is stopped. JSON is written after every load; with --publish tables go into
docs/performance.md and plots into docs/plots. A peer that cannot be installed or started is
reported with the reason. Wrong and missing answers are reported, too; if any was modelserver's, the
exit code is 1.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import grpc

import load_generator
import model_store
import report_serving
import serving_load
import tight_loop
from exchange import Target, WrongAnswerError
from machine import machine_facts
from model_store import MODELS, SOFTMAX, Model
from peers.environment import NotInstallableError, reason_of
from peers.limit import LIMIT
from peers.ours import OURS
from peers.registry import PEERS
from progress import Progress
from served_case import environment_of, served
from server_process import ServerEndedError
from serving_cases import SCALES, Case, cases
from serving_load import LOADS, SATURATION, WARM_UP_SECONDS, LoadError, Outcome
from serving_record import Record, Report

_CANNOT_BE_MEASURED = (
    *(NotInstallableError, ServerEndedError, WrongAnswerError, LoadError, TimeoutError),
    *(grpc.RpcError, OSError, subprocess.CalledProcessError),
)

_START_SECONDS = 3.0
"""What starting and stopping a server takes, as a rule."""

_LOOP_SECONDS = 14.0
"""What a model's loops take beside the two times that they are measured."""


def main(argv: Sequence[str]) -> int:
    """Run what the command line selects. Returns the exit code."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load_generator.build()
    report = Report(options.json, machine_facts(), options.seconds)
    chosen = _installed(_chosen(options), report)
    for model in {case.model.name: case.model for case in chosen}.values():
        model_store.make(model)
    _run(list(_steps(chosen, options)), options.rounds, report)
    print(f"Written to {options.json}")
    if options.publish:
        report_serving.publish(options.json)
    for record in report.failures:
        print(f"Wrong or missing answers: {record}", file=sys.stderr)
    return any(record.peer in OURS for record in report.failures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("out/bench-serving.json"))
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="a load (default: %(default)s)")
    choices: dict[str, Iterable[str]] = {
        "peers": PEERS,
        "models": MODELS,
        "loads": LOADS,
        "scale": SCALES,
    }
    for name, known in choices.items():
        text = f"some of {', '.join(known)}; empty for none (default: all)"
        parser.add_argument(f"--{name}", type=_names(known), default=list(known), help=text)
    parser.add_argument("--no-loops", action="store_true", help="leave out the tight loops")
    parser.add_argument("--publish", action="store_true", help="write tables and plots in docs/")
    return parser


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return chosen

    return parse


def _chosen(options: argparse.Namespace) -> list[Case]:
    peers = [PEERS[name] for name in options.peers]
    loads = tuple(LOADS[name] for name in options.loads)
    return list(cases(peers, options.models, loads, options.scale))


def _installed(chosen: Sequence[Case], report: Report) -> list[Case]:
    """The cases whose peers can be had here; the others go into the report."""
    for peer in {case.peer.name: case.peer for case in chosen}.values():
        try:
            environment = environment_of(peer)
        except NotInstallableError as error:
            report.unavailable[peer.name] = str(error)
            print(f"Cannot be installed here: {peer.name}: {error}", file=sys.stderr)
        else:
            report.versions[peer.name] = environment.version_of(peer.distribution)
    return [case for case in chosen if case.peer.name not in report.unavailable]


# What a round consists of…


@dataclass(frozen=True, slots=True)
class Step:
    """A part of each round: `measure` is given the round's number. `expected` is in seconds."""

    title: str
    expected: float
    measure: Callable[[int], Iterable[Record]]


def _steps(chosen: Sequence[Case], options: argparse.Namespace) -> Iterator[Step]:
    seconds = options.seconds
    for case in chosen:
        expected = _START_SECONDS + len(case.loads) * (WARM_UP_SECONDS + seconds)
        yield Step(case.title, expected, partial(_measure, case, seconds))
    if not options.no_loops:
        for model in (MODELS[name] for name in options.models):
            expected = _LOOP_SECONDS + 2 * seconds
            yield Step(f"{model.title} in a tight loop", expected, partial(_loop, model, seconds))


def _run(steps: Sequence[Step], rounds: int, report: Report) -> None:
    progress = Progress([step.expected for step in steps], rounds)
    for round_ in range(rounds):
        for place, step in enumerate(steps):
            where = f"{round_ + 1}/{rounds}, {place + 1}/{len(steps)}"
            print(f"[{where}, {progress.left / 60:.0f} min left] {step.title}", flush=True)
            begin = time.monotonic()
            for record in step.measure(round_):
                report.add(record)
            progress.took(time.monotonic() - begin)


# …servers…


def _measure(case: Case, seconds: float, round_number: int) -> Iterator[Record]:
    """Start the server, run the loads, stop it."""
    name, model, count = case.peer.name, case.model.name, len(case.names)
    record = Record(
        round_number, name, model, "", case.scale, case.rows, count, case.model.version_count
    )
    try:
        with served(case) as target:
            record = replace(record, request_bytes=target.request_bytes)
            for load, outcome in _outcomes(case, target, seconds):
                yield replace(record, load=load, outcome=outcome)
    except _CANNOT_BE_MEASURED as error:
        reason = reason_of(str(error))
        print(f"    not measured: {reason}", flush=True)
        yield replace(record, reason=reason)


def _outcomes(case: Case, target: Target, seconds: float) -> Iterator[tuple[str, Outcome]]:
    """Closed loads first: they say how much an open one may be. Rates that the server cannot keep
    up with are left out: what they measure is how long they last.
    """
    most = 0.0
    for load in case.loads:
        rate = load.rate if load.share is None else load.share * most
        if load.is_open and not 0 < (rate or 0) < most:
            continue
        outcome = serving_load.run(target, load, rate, seconds)
        if load is SATURATION:
            most = outcome.rps
        print(f"    {load.name:9} {_in_words(outcome)}", flush=True)
        yield load.name, outcome


def _in_words(outcome: Outcome) -> str:
    return (
        f"{outcome.rps:10,.0f} requests/s, p50 {outcome.p50:8,.0f} µs, p99 {outcome.p99:9,.0f} µs,"
        f" CPU {outcome.cpu:7,.1f} µs/request, {outcome.failures} failures"
    )


# …and tight loops.


def _loop(model: Model, seconds: float, round_number: int) -> Iterator[Record]:
    """A model in a loop, with the machine to itself and beside the load that it might have."""
    rates = {"alone": tight_loop.alone(model, seconds)}
    try:
        with served(Case(LIMIT, SOFTMAX, ())) as target:
            rates["beside"] = tight_loop.beside(model, seconds, target, rates["alone"])
    except _CANNOT_BE_MEASURED as error:
        print(f"    beside a load: not measured: {error}", flush=True)
    for load, rate in rates.items():
        print(f"    {load:9} {rate:10,.0f} rows/s", flush=True)
        outcome = Outcome(rate, 0, 0, 0, 0)
        yield Record(round_number, tight_loop.NAME, model.name, load, outcome=outcome)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
