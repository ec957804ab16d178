"""Loads a SavedModel into a Session of its own, as TensorFlow 1 does."""

import contextlib
import logging
from collections.abc import Iterable, Iterator

import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

from modelserver.errors import FailedPreconditionError
from modelserver.saved_model.graph import ModelGraph
from modelserver.saved_model.options import SavedModelOptions


def session_config(options: SavedModelOptions) -> tf.compat.v1.ConfigProto:
    """Return the configuration of every Session. GPU memory grows with need, up to the limit."""
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_parallelism,
        inter_op_parallelism_threads=options.inter_op_parallelism,
        # A model exported on a GPU names it in its graph, and runs without one all the same.
        allow_soft_placement=True,
    )
    config.gpu_options.allow_growth = True
    config.gpu_options.per_process_gpu_memory_fraction = options.per_process_gpu_memory_fraction
    return config


def load_session(
    path: str, options: SavedModelOptions
) -> tuple[tf.compat.v1.Session, MetaGraphDef]:
    """Return a new Session with the model's variables and tables, and the whole MetaGraph. Raises
    whatever TensorFlow raises.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=session_config(options))
    try:
        with graph.as_default(), without_deprecation_notices():
            tags = list(options.saved_model_tags)
            return session, tf.compat.v1.saved_model.loader.load(session, tags, path)
    except BaseException:
        session.close()
        raise


def check_variables(
    session: tf.compat.v1.Session, graph: ModelGraph, outputs: Iterable[str]
) -> None:
    """Check that the variables behind these tensors have values.

    Some exports (Keras 3 models inside a `tf.Module`) hold variables that the Session's loader does
    not restore; every call would fail. Raises FailedPreconditionError.
    """
    handles = [node.name for node in graph.reachable_nodes(outputs) if node.op == "VarHandleOp"]
    with session.graph.as_default():
        checks = [
            tf.raw_ops.VarIsInitializedOp(resource=session.graph.get_tensor_by_name(f"{name}:0"))
            for name in handles
        ]
    results = zip(handles, session.run(checks), strict=True)
    missing = [name for name, is_initialized in results if not is_initialized]
    if missing:
        raise FailedPreconditionError(
            f"{len(missing)} variables were not restored, among them {missing[0]}"
        )


@contextlib.contextmanager
def without_deprecation_notices() -> Iterator[None]:
    """Keep TensorFlow's advice to developers of models out of the log of a server."""
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_no_deprecation_notice)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_deprecation_notice)


def _is_no_deprecation_notice(record: logging.LogRecord) -> bool:
    return "deprecated" not in str(record.msg)
