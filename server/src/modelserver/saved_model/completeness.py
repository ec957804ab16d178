"""Tells a complete SavedModel directory from one that is still being written, by content.

It reads the lengths in `saved_model.pb`, the names of assets, and `variables.index`; never the
graph or the weights. Needs no TensorFlow.
"""

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Generic, NamedTuple, TypeVar

from modelserver.core.storage_path import FileInfo, StoragePath
from modelserver.saved_model.tensor_index import read_shard_sizes
from modelserver.saved_model.wire import MalformedError, file_size, walk_fields

BINARY_GRAPH = "saved_model.pb"
TEXT_GRAPH = "saved_model.pbtxt"
VARIABLES_INDEX = "variables/variables.index"

_SAVED_MODEL_META_GRAPHS = 2
_META_GRAPH_SAVER_DEF = 3
_META_GRAPH_ASSET_FILE_DEF = 6
_ASSET_FILE_DEF_FILENAME = 2

_TEXT_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_CACHE_SIZE = 128

FoundT = TypeVar("FoundT")


class _Needs(NamedTuple):
    """What a graph requires beside itself."""

    variables: bool
    assets: tuple[str, ...]


class _SeenFile(NamedTuple):
    """A file of a version as the listing shows it. Equal to what was seen there, however opened."""

    path: str
    name: str
    info: FileInfo


class CompletenessCheck:
    """Says what a version directory lacks. Thread-safe.

    What was read from a whole file is kept until the listing shows the file changed, so that
    waiting for the last shard costs one look at the listing a poll.
    """

    def __init__(self) -> None:
        self._needs = _Memory(_read_needs)
        self._shard_sizes = _Memory(_read_index)

    def missing_files(self, path: StoragePath) -> list[str]:
        """Return the files that are missing or cut short, each with the reason; [] = complete."""
        graph = next((name for name in (BINARY_GRAPH, TEXT_GRAPH) if name in path.files), None)
        if graph is None:
            return [BINARY_GRAPH]
        try:
            needs = self._needs.of(path, graph)
        except MalformedError:
            return [f"{graph} (truncated)"]
        variables = self._missing_variables(path) if needs.variables else []
        return [*variables, *(asset for asset in needs.assets if asset not in path.files)]

    def _missing_variables(self, path: StoragePath) -> list[str]:
        """Even a model without variables must have an index where its graph says how variables are
        restored, as all exports by TensorFlow 2 do: TensorFlow can load it in no way without.
        """
        if VARIABLES_INDEX not in path.files:
            return [VARIABLES_INDEX]
        try:
            sizes = self._shard_sizes.of(path, VARIABLES_INDEX)
        except MalformedError:
            return [f"{VARIABLES_INDEX} (truncated)"]
        return list(_missing_shards(path, sizes))


def _missing_shards(path: StoragePath, sizes: tuple[int, ...]) -> Iterator[str]:
    for shard, size in enumerate(sizes):
        name = f"variables/variables.data-{shard:05d}-of-{len(sizes):05d}"
        if name not in path.files:
            yield name
        elif path.files[name].size < size:
            yield f"{name} ({path.files[name].size} of {size} bytes)"


class _Memory(Generic[FoundT]):
    """What `read` found in files, kept for as long as the listing shows them unchanged."""

    def __init__(self, read: Callable[[str, BinaryIO], FoundT]) -> None:
        self._read = read
        self._found: dict[_SeenFile, FoundT] = {}

    def of(self, path: StoragePath, name: str) -> FoundT:
        """Say what is found in the file `name`. Raises what `read` and opening raise."""
        seen = _SeenFile(path.path, name, path.files[name])
        found = self._found.get(seen)
        if found is None:
            with path.open(name) as file:
                found = self._read(name, file)
            self._found = dict([*self._found.items(), (seen, found)][-_CACHE_SIZE:])
        return found


def _read_index(name: str, file: BinaryIO) -> tuple[int, ...]:
    del name
    return read_shard_sizes(file)


def _read_needs(name: str, file: BinaryIO) -> _Needs:
    return _text_needs(file) if name == TEXT_GRAPH else _binary_needs(file)


def _binary_needs(file: BinaryIO) -> _Needs:
    saved_model = list(walk_fields(file, 0, file_size(file)))
    meta_graphs = [field for field in saved_model if field.number == _SAVED_MODEL_META_GRAPHS]
    if not meta_graphs:
        raise MalformedError("no MetaGraph")
    fields = [
        field
        for meta_graph in meta_graphs
        for field in walk_fields(file, meta_graph.start, meta_graph.size)
    ]
    numbers = {field.number for field in fields}
    assets = tuple(
        _read_asset_name(file, field.start, field.size)
        for field in fields
        if field.number == _META_GRAPH_ASSET_FILE_DEF
    )
    return _Needs(_META_GRAPH_SAVER_DEF in numbers, assets)


def _read_asset_name(file: BinaryIO, start: int, size: int) -> str:
    for field in walk_fields(file, start, size):
        if field.number == _ASSET_FILE_DEF_FILENAME:
            file.seek(field.start)
            return f"assets/{file.read(field.size).decode(errors='replace')}"
    raise MalformedError("an asset has no name")


def _text_needs(file: BinaryIO) -> _Needs:
    """Text tells its end by its braces only; which assets it needs is left to loading."""
    text = _TEXT_STRING.sub("", file.read().decode(errors="replace"))
    if not text.count("{") or text.count("{") != text.count("}") or '"' in text:
        raise MalformedError("braces or quotes do not match")
    return _Needs("saver_def {" in text, ())
