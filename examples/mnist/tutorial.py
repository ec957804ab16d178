"""The whole tutorial without a cluster: `python -m mnist.tutorial`.

Trains two versions, serves the first, adds the second while a client keeps calling, and shows that
the error rate fell and that no call failed. The lines that begin with `$` are the commands of
docs/tutorial.md.
"""

import asyncio
import contextlib
import itertools
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mnist.client import Tally, connect, do_inference, round_and_round
from mnist.command_line import CommandLine, run
from mnist.data import LabelledImages, read_data_sets
from mnist.processes import STOP_SIGNALS, run_command, running_server, step
from mnist.services import Classify
from modelserver.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    UnavailableError,
)

PROG = "mnist.tutorial"
_CONCURRENCY = 10
_MIN_IMPROVEMENT_POINTS = 2.0
_CONNECT_TIMEOUT_SECONDS = 10.0
_SWITCH_TIMEOUT_SECONDS = 60.0
_PROBE_SECONDS = 0.05
_SECONDS_BESIDE_SWITCH = 1.0
"""How long the client calls before version 2 is copied, and after its first answer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tutorial on `argv`, None being the process's own; return its exit status."""
    parser = CommandLine(
        PROG,
        "Train two versions of a model, serve the first, add the second while a client keeps\n"
        "calling, and compare their error rates. Takes about half a minute.",
        f"The exit status is 0 only if version 2 is better by {_MIN_IMPROVEMENT_POINTS:g} points "
        "or more and no call failed.",
    )
    parser.add_argument(
        "--work_dir",
        type=Path,
        metavar="DIR",
        help="a new or empty directory for the models and the server's log, which stay there "
        "(default: a temporary one)",
    )
    parser.add_argument(
        "--data_dir",
        type=Path,
        metavar="DIR",
        help="where MNIST's four files are; without them, scikit-learn's digits are used",
    )
    flags = parser.parse_args(argv)
    # Terminated or hung up on, it stops what it started, just as when it is interrupted.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    return run(PROG, lambda: _in_work_dir(flags.work_dir, flags.data_dir))


def _in_work_dir(work_dir: Path | None, data_dir: Path | None) -> int:
    if work_dir is None:
        with tempfile.TemporaryDirectory(prefix="mnist_tutorial-") as temporary:
            return _run_tutorial(Path(temporary), data_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    if any(work_dir.iterdir()):
        raise FailedPreconditionError(f"--work_dir={work_dir} is not empty; give a new directory")
    return _run_tutorial(work_dir, data_dir)


def _run_tutorial(work_dir: Path, data_dir: Path | None) -> int:
    models, monitored = work_dir / "mnist_model", work_dir / "monitored"
    data_flags = [] if data_dir is None else [f"--data_dir={data_dir}"]
    for version, iterations in ((1, 100), (2, 2000)):
        with step(f"Train version {version} for {iterations} iterations and export it"):
            flags = (f"--training_iteration={iterations}", f"--export_version={version}")
            run_command("mnist_export", *flags, *data_flags, str(models))
    with step("Copy version 1 into the folder that the server will monitor"):
        run_command("mkdir", str(monitored))
        run_command("cp", "-r", str(models / "00000001"), str(monitored))
    with contextlib.ExitStack() as stack:
        with step("Start the server"):
            address = stack.enter_context(running_server(monitored, work_dir / "server.log"))
        with step("Classify 1000 test images with version 1"):
            before = _error_rate(address, data_flags)
        with step("Copy version 2 while a client keeps calling"):
            images = read_data_sets(data_dir).test
            tally = asyncio.run(_switch(address, models / "00000002", monitored, images))
        with step("Classify 1000 test images with version 2"):
            after = _error_rate(address, data_flags)
    return _verdict(before, after, tally)


def _error_rate(address: str, data_flags: Sequence[str]) -> float:
    """Return the error rate in per cent that mnist_client prints."""
    flags = ("--num_tests=1000", f"--server={address}", f"--concurrency={_CONCURRENCY}")
    output = run_command("mnist_client", *flags, *data_flags)
    found = re.search(r"^Inference error rate: ([\d.]+)%$", output, re.MULTILINE)
    if found is None:
        raise InternalError("mnist_client printed no error rate")
    return float(found[1])


async def _switch(address: str, version: Path, monitored: Path, images: LabelledImages) -> Tally:
    """Copy `version` into `monitored` under load; return how the calls of the load went."""
    stop = asyncio.Event()
    endless = itertools.takewhile(lambda _: not stop.is_set(), round_and_round(images))
    async with connect(address, _CONNECT_TIMEOUT_SECONDS) as classify:
        probe = images.images[0]
        old_scores = await classify(probe)
        load = asyncio.create_task(do_inference(classify, endless, _CONCURRENCY, _say_nothing))
        try:
            await asyncio.sleep(_SECONDS_BESIDE_SWITCH)
            run_command("cp", "-r", str(version), str(monitored))  # quick; calls are under way
            await _wait_for_new_answers(classify, probe, old_scores)
            await asyncio.sleep(_SECONDS_BESIDE_SWITCH)
        finally:
            stop.set()
            tally = await load
    return tally


async def _wait_for_new_answers(
    classify: Classify, probe: np.ndarray, old_scores: np.ndarray
) -> None:
    """Return once the image `probe` gets other scores: another version answers."""
    start = time.monotonic()
    # Rounding differs with the size of a batch, so equality would be too strict.
    while np.allclose(await classify(probe), old_scores, atol=1e-3):
        if time.monotonic() - start > _SWITCH_TIMEOUT_SECONDS:
            raise DeadlineExceededError(
                f"version 2 does not answer {_SWITCH_TIMEOUT_SECONDS:g} s after it was copied"
            )
        await asyncio.sleep(_PROBE_SECONDS)
    print(f"   version 2 answers {time.monotonic() - start:.1f} s after it was copied", flush=True)


def _say_nothing() -> None:
    """For answers of the load, of which there are too many to print a dot for each."""


def _verdict(before: float, after: float, tally: Tally) -> int:
    """Print the outcome. `before` and `after` are error rates in per cent."""
    print(f"\nError rate of version 1: {before:.1f}%")
    print(f"Error rate of version 2: {after:.1f}%")
    print(f"Calls across the switch: {tally.answered} answered, {tally.failed} failed")
    if tally.failed:
        raise UnavailableError(f"a call failed across the switch: {tally.first_failure}")
    if before - after < _MIN_IMPROVEMENT_POINTS:
        raise InternalError(
            f"version 2 should be better than version 1 by {_MIN_IMPROVEMENT_POINTS:g} points"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
