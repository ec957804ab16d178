"""`modelserver pull`: a copy of one version in a directory."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from modelserver.clock import Clock, SystemClock
from modelserver.command_line import CommandLine
from modelserver.core.storage_path import StoragePath
from modelserver.errors import FailedPreconditionError, NotFoundError
from modelserver.sources.cache.cancellation import Cancellation
from modelserver.sources.cache.download import Download
from modelserver.sources.storage.base import ObjectStore
from modelserver.sources.storage.router import is_mounted, scheme_of
from modelserver.sources.storage.stores import make_store
from modelserver.tools.answer import amount, answer, note, printable, run
from modelserver.tools.local_copy import LocalCopy
from modelserver.tools.mounted_store import MountedStore
from modelserver.tools.place import add_place_flags, make_storage, make_survey, parse_place
from modelserver.tools.progress import Progress, ProgressReport, run_watched
from modelserver.tools.survey import Condition, FoundVersion, Survey

PROG = "modelserver pull"

_DESCRIPTION = """\
Copies one version into DIR, under its own name. URI is a version, or a base path, of which the
newest complete version is taken. The copy appears whole, with every checksum that the store states
compared, or not at all. What was stopped half way, by whatever, is kept in DIR/.NAME.incoming, and
the same command goes on from there."""

_EXAMPLES = """\
examples:
  modelserver pull gs://my-models/mnist /models/mnist             the newest complete version
  modelserver pull gs://my-models/mnist/00000003 /models/mnist    this one: /models/mnist/00000003
  modelserver pull --platform=lookup --ready_marker=_SUCCESS gs://my-models/words /models/words

A version that is not complete is refused, with what it lacks; so is one that DIR has already.
Progress goes to standard error, the result to standard output.

exit codes: 0 copied; 1 not copied; 2 the command line is wrong; 130 interrupted"""


def main(argv: Sequence[str]) -> int:
    """Run the tool; return its exit code."""
    parser = CommandLine(PROG, _DESCRIPTION, _EXAMPLES)
    parser.add_argument("uri", metavar="URI", help="a version, or a base path")
    parser.add_argument("directory", metavar="DIR", help="where the copy is put")
    add_place_flags(parser)
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    flags = parse_place(parser, argv)
    if not is_mounted(flags.directory):
        parser.error(f"{flags.directory} is no directory: pull copies to a mounted disk")
    return run(PROG, lambda: _pull(flags, SystemClock()))


def _pull(flags: Namespace, clock: Clock) -> None:
    found = choose(make_survey(flags, make_storage(flags)), flags.uri)
    assert found.path is not None  # or else it were not complete
    store = _store_of(found.uri, flags)
    copy = LocalCopy(store, found.path, Path(flags.directory) / found.directory)
    began = clock.monotonic()
    _show(copy, found.path, clock)
    seconds = clock.monotonic() - began
    if flags.json:
        answer(*_in_json(found, copy, seconds).splitlines())
    else:
        words = amount(len(found.files), found.size)
        answer(f"Copied {found.uri} to {copy.target}: {words}, in {seconds:.1f} s")


def choose(survey: Survey, uri: str) -> FoundVersion:
    """Find the complete version that `uri` means.

    Raises:
        FailedPreconditionError: there is none; says why.
        ServingError: what the storage says.

    """
    number = survey.number_of(uri)
    if number is None:
        return _newest(survey, uri)
    found = survey.look(number, uri)
    if found.condition is not Condition.COMPLETE:
        raise FailedPreconditionError(_refusal(found))
    return found


def _newest(survey: Survey, base_path: str) -> FoundVersion:
    children = survey.children(base_path)
    passed_over: list[str] = []
    for found in survey.newest_complete(base_path, children):
        if found.condition is Condition.COMPLETE:
            for refusal in passed_over:
                note(PROG, f"{refusal}: taking {found.directory}")
            return found
        passed_over.append(_refusal(found))
    if passed_over:
        raise FailedPreconditionError(f"{base_path} has no complete version: {passed_over[0]}")
    raise NotFoundError(
        f"No versions found under {base_path}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )


def _refusal(found: FoundVersion) -> str:
    if found.condition is Condition.UNREADABLE:
        return f"{found.uri} cannot be looked at ({found.lacks()})"
    return f"{found.uri} is not complete, it lacks {found.lacks()}"


def _store_of(uri: str, flags: Namespace) -> ObjectStore:
    if is_mounted(uri):
        return MountedStore()
    return make_store(scheme_of(uri), gcs_anonymous=flags.gcs_anonymous)


def _show(copy: LocalCopy, version: StoragePath, clock: Clock) -> None:
    """Make the copy, and tell how far it is."""
    cancellation = Cancellation(clock)
    size = sum(info.size for info in version.files.values())
    began = clock.monotonic()
    report = ProgressReport(printable(copy.target.name), sys.stderr, clock)

    def run_shown(download: Download) -> None:
        def show() -> None:
            seconds = clock.monotonic() - began
            report.show(Progress(download.bytes_here, size, download.bytes_received, seconds))

        try:
            run_watched(download.run, show, cancellation.cancel, clock)
        finally:
            report.end()

    copy.make(cancellation, run_shown)


def _in_json(found: FoundVersion, copy: LocalCopy, seconds: float) -> str:
    result = {
        "uri": found.uri,
        "version": found.number,
        "path": str(copy.target),
        "files": len(found.files),
        "bytes": found.size,
        "seconds": round(seconds, 3),
    }
    return json.dumps(result, indent=2)
