"""What the tutorial's commands share: a mistake gives one clear line on stderr, not a traceback."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from modelserver.errors import ServingError


class CommandLine(argparse.ArgumentParser):
    """A parser whose errors are one line with exit status 2. Flags cannot be abbreviated."""

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """End the process: standard argparse would print the whole usage before the message."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return an argparse type for the whole numbers from `minimum` to `maximum`, both included."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {minimum} to {maximum}"
            )
        return value

    return parse


def run(prog: str, command: Callable[[], int]) -> int:
    """Run `command` and return its exit status; 1 after an error, which is printed as one line.

    Errors of modelserver and of the operating system are the user's to solve. Any other exception
    is a bug and passes. Ctrl-C gives the shell's status for it, 130.
    """
    try:
        return command()
    except (ServingError, OSError) as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
