"""What a tool says: its answer on standard output, or one line of error, and its exit code."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Set

from modelserver.errors import InvalidArgumentError, ServingError
from modelserver.sources.cache.version_cache import in_words


def run(prog: str, command: Callable[[], None]) -> int:
    """Run `command`; return the exit code: 0, or after one line on standard error 2 where the
    arguments were wrong, 130 after Ctrl-C, else 1.
    """
    logging.basicConfig(level=logging.ERROR)  # what a library warns of is no answer
    threads = set(threading.enumerate())
    try:
        command()
    except InvalidArgumentError as error:
        return _fail(prog, str(error), 2)
    except ServingError as error:
        return _fail(prog, str(error), 1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(prog, f"{place}{error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _interrupted(prog, set(threading.enumerate()) - threads)
    return 0


def answer(*lines: str) -> None:
    """Write to standard output, whatever names of files are in the lines."""
    for line in lines:
        print(printable(line))  # noqa: T201  # what was asked for


def amount(num_files: int, size: int) -> str:
    """How much so many files of `size` bytes together are: `3 files, 1.2 GB`."""
    return f"{num_files} file{'' if num_files == 1 else 's'}, {in_words(size)}"


def printable(line: str) -> str:
    """The line with all that could upset a terminal, or cannot be encoded, spelled out. However
    long it is, unlike a name in a message.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def note(prog: str, message: str) -> None:
    """Write a line to standard error."""
    line = printable(" ".join(message.splitlines()))
    print(f"{prog}: {line}", file=sys.stderr)  # noqa: T201  # for whoever typed the command


def _interrupted(prog: str, begun: Set[threading.Thread]) -> int:
    """End the process at once if a thread that was begun is busy or hangs: the interpreter would
    wait for it.
    """
    code = _fail(prog, "interrupted", 130)
    if any(not thread.daemon for thread in begun):
        os._exit(code)
    return code


def _fail(prog: str, message: str, code: int) -> int:
    note(prog, message)
    return code
