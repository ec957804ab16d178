"""Reads the MetaGraph with the wanted tags out of a SavedModel file."""

import os
from collections.abc import Collection

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from modelserver.errors import DataLossError, NotFoundError
from modelserver.saved_model.completeness import BINARY_GRAPH, TEXT_GRAPH


def read_meta_graph(path: str, tags: Collection[str]) -> MetaGraphDef:
    """Return the MetaGraph of the SavedModel in directory `path` that has exactly these tags.

    Raises NotFoundError where the file, or such a MetaGraph, is missing, and DataLossError where
    the file is corrupt.
    """
    saved_model = _read_saved_model(path)
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == set(tags):
            return meta_graph
    available = ", ".join(_tag_set(each.meta_info_def.tags) for each in saved_model.meta_graphs)
    raise NotFoundError(
        f"Could not find meta graph def matching supplied tags: {_tag_set(tags)}. "
        f"{path} has {available or 'none'}."
    )


def strip_graph(meta_graph: MetaGraphDef) -> MetaGraphDef:
    """Return a copy with the tags and signatures alone. The graph may be large, and is loaded."""
    kept = MetaGraphDef(signature_def=meta_graph.signature_def)
    kept.meta_info_def.tags.extend(meta_graph.meta_info_def.tags)
    kept.meta_info_def.tensorflow_version = meta_graph.meta_info_def.tensorflow_version
    return kept


def _read_saved_model(path: str) -> SavedModel:
    for name, parse in ((BINARY_GRAPH, _parse_binary), (TEXT_GRAPH, _parse_text)):
        file_path = os.path.join(path, name)
        if os.path.exists(file_path):
            with open(file_path, "rb") as file:
                return parse(file_path, file.read())
    raise NotFoundError(
        f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}. "
        "Check that the directory exists and that you have the right permissions for accessing it."
    )


def _parse_binary(file_path: str, content: bytes) -> SavedModel:
    try:
        return SavedModel.FromString(content)
    except DecodeError as error:
        raise DataLossError(f"Can't parse {file_path} as binary proto") from error


def _parse_text(file_path: str, content: bytes) -> SavedModel:
    try:
        return text_format.Parse(content, SavedModel())
    except text_format.ParseError as error:
        raise DataLossError(f"Can't parse {file_path} as text proto") from error


def _tag_set(tags: Collection[str]) -> str:
    return f"{{ {' '.join(tags)} }}"
