"""mnist_client: send test images to the tutorial's server and measure how often it errs."""

import asyncio
import itertools
import sys
import time
from argparse import ArgumentTypeError, Namespace
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from mnist.command_line import CommandLine, run, whole_number
from mnist.data import LabelledImages, read_data_sets
from mnist.services import Classify, mnist_service, prediction_service
from modelserver.errors import ServingError, UnavailableError

PROG = "mnist_client"
_CHANNEL_OPTIONS = [
    # A server that is still starting is noticed within a second of its being ready.
    ("grpc.max_reconnect_backoff_ms", 1000),
]


@dataclass(slots=True)
class Tally:
    """How a run of calls went. `wrong` counts those of the `answered` calls that named another
    digit; `first_failure` describes the first of the `failed` calls.
    """

    answered: int = 0
    wrong: int = 0
    failed: int = 0
    first_failure: str = ""

    @property
    def error_rate(self) -> float | None:
        """The share of answers, from 0 to 1, that were wrong. None before the first answer."""
        return self.wrong / self.answered if self.answered else None


@asynccontextmanager
async def connect(
    server: str, wait_seconds: float, model_name: str = ""
) -> AsyncIterator[Classify]:
    """Open a channel to `server` (`host:port`) and wait until it accepts connections.

    With a `model_name` the calls are Predict calls of that model on a model server, otherwise those
    of the tutorial's own server.

    Raises:
        UnavailableError: it did not within `wait_seconds`.

    """
    async with grpc.aio.insecure_channel(server, options=_CHANNEL_OPTIONS) as channel:
        try:
            await asyncio.wait_for(channel.channel_ready(), wait_seconds)
        except TimeoutError:
            raise UnavailableError(
                f"no server answers at {server} (waited {wait_seconds:g} s); "
                "is mnist_inference_2 running with that port?"
            ) from None
        yield prediction_service(channel, model_name) if model_name else mnist_service(channel)


async def do_inference(
    classify: Classify,
    examples: Iterable[tuple[np.ndarray, int]],
    concurrency: int,
    on_answer: Callable[[], None],
) -> Tally:
    """Classify every example, an image with its label, with at most `concurrency` calls in flight.

    `examples` is read as calls become possible, so it may be endless until something changes.
    `on_answer` is called after each answer. Failed calls are counted, not raised.
    """
    tally = Tally()
    remaining = iter(examples)

    async def call_one_after_another() -> None:
        for image, label in remaining:
            try:
                scores = await classify(image)
            except ServingError as error:
                tally.failed += 1
                tally.first_failure = tally.first_failure or error.message
                continue
            tally.answered += 1
            tally.wrong += int(scores.argmax() != label)
            on_answer()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(call_one_after_another())
    return tally


def round_and_round(data: LabelledImages) -> Iterable[tuple[np.ndarray, int]]:
    """Give the images of `data` with their labels, in order, from the start again after the end."""
    return itertools.cycle(zip(data.images, data.labels.tolist(), strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on `argv`, None being the process's own; return its exit status."""
    flags = _parse(argv)
    return run(PROG, lambda: _report(asyncio.run(_measure(flags))))


def _parse(argv: Sequence[str] | None) -> Namespace:
    parser = CommandLine(
        PROG,
        "Send test images to an MNIST server and print its inference error rate.",
        f"  {PROG} --num_tests=1000 --server=localhost:9000 --concurrency=10\n"
        f"  {PROG} --num_tests=1000 --server=mnist:8500 --model_name=mnist\n\n"
        "prints a dot for each answer. The exit status is 1 if any call failed.",
    )
    parser.add_argument(
        "--concurrency",
        type=whole_number(1, 1000),
        default=1,
        metavar="N",
        help="maximum number of concurrent inference requests (default: %(default)s)",
    )
    parser.add_argument(
        "--num_tests",
        type=whole_number(1, 10_000),
        default=100,
        metavar="N",
        help="number of test images; they repeat where there are fewer (default: %(default)s)",
    )
    parser.add_argument(
        "--server", type=_address, required=True, metavar="HOST:PORT", help="the MNIST server"
    )
    parser.add_argument(
        "--model_name",
        default="",
        metavar="NAME",
        help="call Predict of this model on a model server, not the tutorial's own service",
    )
    parser.add_argument(
        "--for_seconds",
        type=whole_number(1, 3600),
        metavar="S",
        help="go on for so long, whatever --num_tests says",
    )
    parser.add_argument(
        "--data_dir",
        type=Path,
        help="where MNIST's four files are; give what mnist_export was given",
    )
    parser.add_argument(
        "--wait_seconds",
        type=whole_number(1, 3600),
        default=30,
        metavar="S",
        help="how long to wait for the server to accept connections (default: %(default)s)",
    )
    return parser.parse_args(argv)


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and 1 <= int(port) <= 65535):
        raise ArgumentTypeError(f"{text!r} is not HOST:PORT, as in localhost:9000")
    return text


async def _measure(flags: Namespace) -> Tally:
    data = read_data_sets(flags.data_dir)
    print(data, flush=True)
    async with connect(flags.server, flags.wait_seconds, flags.model_name) as classify:
        examples = _chosen(flags, data.test)
        return await do_inference(classify, examples, flags.concurrency, _print_dot)


def _chosen(flags: Namespace, data: LabelledImages) -> Iterable[tuple[np.ndarray, int]]:
    if not flags.for_seconds:
        return itertools.islice(round_and_round(data), flags.num_tests)
    end = time.monotonic() + flags.for_seconds
    return itertools.takewhile(lambda _: time.monotonic() < end, round_and_round(data))


def _print_dot() -> None:
    print(".", end="", flush=True)


def _report(tally: Tally) -> int:
    if tally.error_rate is not None:
        print(f"\nInference error rate: {100 * tally.error_rate:.1f}%")
        print(f"{tally.answered} calls answered, {tally.failed} failed")
    if not tally.failed:
        return 0
    calls = tally.answered + tally.failed
    raise UnavailableError(
        f"{tally.failed} of {calls} calls failed; the first: {tally.first_failure}"
    )


if __name__ == "__main__":
    sys.exit(main())
