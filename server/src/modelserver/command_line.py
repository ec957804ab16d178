"""What all commands share: a mistake gives one line, and booleans are those of TensorFlow's
programs.
"""

import argparse
import sys
from typing import NoReturn


class CommandLine(argparse.ArgumentParser):
    """Answers bad usage with one line and exit code 2, without the whole usage text before it.
    Flags cannot be abbreviated, and the texts of `--help` are laid out as they are written.
    """

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """End the process."""
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)  # noqa: T201  # the answer
        raise SystemExit(2)


def add_boolean(group: argparse._ActionsContainer, name: str, *, default: bool, help: str) -> None:
    """Add a flag as TensorFlow's programs take them: --name, --name=true or --name=false."""
    group.add_argument(
        f"--{name}",
        type=_boolean,
        nargs="?",
        const=True,
        default=default,
        metavar="BOOL",
        help=help,
    )


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
