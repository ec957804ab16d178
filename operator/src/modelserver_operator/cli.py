"""The command `modelserver-operator`."""

import argparse
from collections.abc import Sequence

from modelserver_operator import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's arguments).

    Returns the exit code 0; bad usage exits with 2.
    """
    parser = argparse.ArgumentParser(
        prog="modelserver-operator",
        description="Reconciles ModelServer resources. "
        "This release is the command's frame only: it prints its version.",
    )
    version = f"modelserver-operator {__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.parse_args(argv)
    parser.print_help()
    return 0
