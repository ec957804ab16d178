"""The command `modelserver-operator`."""

import argparse
import sys
from collections.abc import Sequence

from modelserver_operator import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (default: the process's arguments). Returns the exit code: 0, or
    2 on bad usage."""
    parser = argparse.ArgumentParser(
        prog="modelserver-operator",
        description="Reconciles ModelServer resources. This release has the command's frame only: it
        prints its version.",
    )
    parser.add_argument("--version", action="version", version=f"modelserver-operator
    {__version__}") parser.parse_args(argv) parser.print_help() return 0


if __name__ == "__main__":
    sys.exit(main())
