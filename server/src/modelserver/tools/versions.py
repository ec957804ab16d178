"""`modelserver versions`: what is under a base path, and what the server would make of it."""

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence

from modelserver.command_line import CommandLine
from modelserver.sources.cache.version_cache import in_words
from modelserver.sources.storage.base import Storage
from modelserver.sources.storage.router import is_mounted
from modelserver.sources.storage.stores import default_cache_directory
from modelserver.tools.answer import answer, run
from modelserver.tools.place import add_place_flags, make_storage, make_survey, parse_place
from modelserver.tools.survey import Children, FoundVersion

PROG = "modelserver versions"

_DESCRIPTION = """\
Lists the versions under a base path, newest first: which the server could load, what the others
lack, and what else is there. URI is what --model_base_path would be: a directory, gs://BUCKET/PATH,
or any other place that the server reads from. Nothing is copied, and nothing is changed."""

_EXAMPLES = """\
examples:
  modelserver versions /models/mnist
  modelserver versions gs://my-models/mnist
  modelserver versions --platform=lookup --ready_marker=_SUCCESS gs://my-models/words
  modelserver versions --json gs://my-models/mnist | jq '.versions[] | select(.state != "complete")'

states: complete, the server could load it; incomplete, it waits for what MISSING names; unreadable,
it cannot be looked at, and MISSING says why. A file that was written to just now may keep a version
on a mounted disk waiting for one more poll; that is not shown.

exit codes: 0 listed, also where there is nothing; 1 could not be listed; 2 the command line is
wrong"""

_HEADINGS = ("VERSION", "STATE", "FILES", "SIZE", "MISSING")


def main(argv: Sequence[str]) -> int:
    """Run the tool; return its exit code."""
    parser = CommandLine(PROG, _DESCRIPTION, _EXAMPLES)
    parser.add_argument("uri", metavar="URI", help="the base path")
    add_place_flags(parser)
    parser.add_argument(
        "--cache_dir",
        default="",
        metavar="DIR",
        help="the server's cache, to say in --json whether a version is in it "
        f"(default: {default_cache_directory({'HOME': '~'})})",
    )
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    flags = parse_place(parser, argv)
    return run(PROG, lambda: _list(flags))


def _list(flags: Namespace) -> None:
    storage = make_storage(flags, flags.cache_dir)
    survey = make_survey(flags, storage)
    children = survey.children(flags.uri)
    versions = survey.look_at_all(flags.uri, children)
    if flags.json:
        answer(*in_json(flags.uri, versions, children, storage).splitlines())
    else:
        answer(*in_lines(flags.uri, versions, children))


def in_json(
    uri: str, versions: Sequence[FoundVersion], children: Children, storage: Storage
) -> str:
    """Write down what was found for programs. A version is `cached` or not where the server would
    have to copy it first, else null; its `files` and `bytes` are null where they are not known.
    """
    ignored = [{"name": name, "reason": why} for name, why in children.ignored.items()]
    rows = [_row(found, storage) for found in versions]
    return json.dumps({"uri": uri, "versions": rows, "ignored": ignored}, indent=2)


def _row(found: FoundVersion, storage: Storage) -> dict[str, object]:
    can_tell = found.path is not None and not is_mounted(found.uri)
    return {
        "version": found.number,
        "directory": found.directory,
        "state": str(found.condition),
        "files": None if found.path is None else len(found.files),
        "bytes": None if found.path is None else found.size,
        "missing": list(found.missing),
        "cached": storage.awaited(found.path) is None if found.path and can_tell else None,
    }


def in_lines(uri: str, versions: Sequence[FoundVersion], children: Children) -> Iterator[str]:
    """Write down what was found for people."""
    if versions:
        yield from in_columns([_HEADINGS, *map(_cells, versions)])
    else:
        yield (
            f"No versions found under {uri}. "
            "Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    if children.ignored:
        yield ""
        yield from children.ignored.values()


def _cells(found: FoundVersion) -> tuple[str, ...]:
    is_known = found.path is not None
    return (
        str(found.number),
        str(found.condition),
        str(len(found.files)) if is_known else "-",
        in_words(found.size) if is_known else "-",
        found.lacks(),
    )


def in_columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Lay rows out in columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
