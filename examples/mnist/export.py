"""mnist_export: train the tutorial's model and export it as one version for a model server."""

import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnist.command_line import CommandLine, run, whole_number
from mnist.data import DataSets, read_data_sets
from mnist.destination import parse_destination

if TYPE_CHECKING:
    from mnist.softmax_regression import SoftmaxRegression

PROG = "mnist_export"
_MAX_VERSION = 2**63 - 1
_PROGRESS_LINES = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on `argv`, None being the process's own; return its exit status."""
    flags = _parse(argv)
    return run(PROG, lambda: _export(flags))


def _parse(argv: Sequence[str] | None) -> Namespace:
    parser = CommandLine(
        PROG,
        "Train softmax regression on handwritten digits and export it as a SavedModel.",
        "The version appears in DIR whole or not at all, as an eight-digit directory:\n\n"
        f"  {PROG} --training_iteration=100 --export_version=1 /tmp/mnist_model\n"
        f"  {PROG} --training_iteration=2000 --export_version=2 /tmp/mnist_model\n\n"
        "The second version has learnt for longer, so it makes fewer errors. In a bucket, the\n"
        "graph is uploaded last, and without it a version does not count:\n\n"
        f"  {PROG} --export_version=3 gs://my-models/mnist",
    )
    parser.add_argument(
        "--training_iteration",
        type=whole_number(1, 1_000_000),
        default=1000,
        metavar="N",
        help="number of training iterations, on 50 images each (default: %(default)s)",
    )
    parser.add_argument(
        "--export_version",
        type=whole_number(1, _MAX_VERSION),
        default=1,
        metavar="V",
        help="version number of the model; a server prefers larger ones (default: %(default)s)",
    )
    parser.add_argument(
        "--data_dir",
        type=Path,
        help="where MNIST's four files are (train-images-idx3-ubyte and so on, gzipped or not); "
        "without them, scikit-learn's digits are used",
    )
    parser.add_argument(
        "export_dir",
        type=parse_destination,
        metavar="DIR",
        help="where versions are put: a directory, or gs://BUCKET/PATH",
    )
    return parser.parse_args(argv)


def _export(flags: Namespace) -> int:
    destination, version = flags.export_dir, flags.export_version
    destination.require_free(version)
    data = read_data_sets(flags.data_dir)
    print(data)
    model, save = _train(data, flags.training_iteration)
    print(f"Held-out error rate: {100 * model.error_rate(data.test):.1f}%")
    print(f"Exporting trained model to {destination.path_of(version)}")
    destination.put(version, functools.partial(save, model))
    print("Done exporting!")
    return 0


def _train(
    data: DataSets, iterations: int
) -> "tuple[SoftmaxRegression, Callable[[SoftmaxRegression, Path], None]]":
    # The same rounding on every machine, and no notice that it might differ.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Imported here because it takes seconds, which --help and a mistyped flag need not wait for.
    from mnist.softmax_regression import save, train

    print(f"Training model for {iterations} iterations...")
    every = max(iterations // _PROGRESS_LINES, 1)

    def show(number: int, loss: float) -> None:
        if number % every == 0 or number == iterations:
            print(f"  iteration {number}: loss {loss:.3f}", flush=True)

    return train(data.train, iterations, show), save


if __name__ == "__main__":
    sys.exit(main())
