"""`modelserver manifest`: writes down what a version consists of."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from modelserver.command_line import CommandLine
from modelserver.core.storage_path import FileInfo
from modelserver.errors import FailedPreconditionError, InvalidArgumentError
from modelserver.sources.cache.checksum import extend
from modelserver.sources.storage.file_system import FileSystemStorage
from modelserver.sources.storage.router import is_mounted
from modelserver.sources.versions import parse_version
from modelserver.tools.answer import amount, answer, run
from modelserver.upload_manifest import MANIFEST, StatedFile, render_manifest

PROG = "modelserver manifest"

_DESCRIPTION = f"""\
Writes {MANIFEST} into the directory of a version: the size and the checksum of
each of its files. A version that has it counts as complete only once all of these files are there,
as they are stated: whatever order they are uploaded in, and whatever the platform cannot see."""

_EXAMPLES = """\
examples:
  modelserver manifest /tmp/export/00000003
  gcloud storage cp -r /tmp/export/00000003 gs://my-models/mnist/

Run it when everything else is written, and again where something has changed: the manifest that is
there is replaced at once.

exit codes: 0 written; 1 not written; 2 the command line is wrong"""

_UNFINISHED = f".{MANIFEST}.unfinished"
_READ_BYTES = 1 << 20


def main(argv: Sequence[str]) -> int:
    """Run the tool; return its exit code."""
    parser = CommandLine(PROG, _DESCRIPTION, _EXAMPLES)
    parser.add_argument("directory", metavar="DIR", help="the directory of one version")
    directory = parser.parse_args(argv).directory
    if not is_mounted(directory):
        parser.error(f"{directory} is no directory: write the manifest first, then upload it too")
    return run(PROG, lambda: _write(Path(directory)))


def _write(directory: Path) -> None:
    files = _files_of(directory)
    try:
        content = render_manifest(
            {name: _state(directory / name, info) for name, info in files.items()}
        )
    except InvalidArgumentError as error:
        raise FailedPreconditionError(
            f"{directory} cannot have a manifest: {error.message}"
        ) from error
    _replace(directory / MANIFEST, content)
    size = sum(info.size for info in files.values())
    answer(f"Wrote {directory / MANIFEST}: it states {amount(len(files), size)}")


def _files_of(directory: Path) -> Mapping[str, FileInfo]:
    listing = FileSystemStorage().list_files(str(directory))
    files = {name: info for name, info in listing.items() if name not in (MANIFEST, _UNFINISHED)}
    if not files:
        raise FailedPreconditionError(f"{directory} has no files")
    if all("/" in name and parse_version(name.partition("/")[0]) is not None for name in files):
        raise FailedPreconditionError(
            f"{directory} is a base path: give the directory of one of its versions"
        )
    return files


def _state(path: Path, info: FileInfo) -> StatedFile:
    crc, size = 0, 0
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            crc, size = extend(crc, data), size + len(data)
    if size != info.size:
        raise FailedPreconditionError(
            f"{path} changes while it is read: run this when everything is written"
        )
    return StatedFile(size, crc)


def _replace(path: Path, content: bytes) -> None:
    """Let the file have `content` from one moment to the next."""
    unfinished = path.with_name(_UNFINISHED)
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
