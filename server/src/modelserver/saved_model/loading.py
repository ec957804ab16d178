"""Loads a SavedModel: into a Session, and where that does not work, as eager functions."""

import gc
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import tensorflow as tf

from modelserver.errors import (
    DataLossError,
    FailedPreconditionError,
    NotFoundError,
    ResourceExhaustedError,
    ServingError,
)
from modelserver.inference.signature import Signature
from modelserver.saved_model.bundle import SavedModelBundle
from modelserver.saved_model.freezing import freeze
from modelserver.saved_model.function_runner import FunctionRunner
from modelserver.saved_model.graph import ModelGraph
from modelserver.saved_model.meta_graph import read_meta_graph, strip_graph
from modelserver.saved_model.op_registry import find_op
from modelserver.saved_model.options import SavedModelOptions
from modelserver.saved_model.session_loading import (
    check_variables,
    load_session,
    session_config,
    without_deprecation_notices,
)
from modelserver.saved_model.session_runner import SessionRunner
from modelserver.saved_model.signatures import read_signatures
from modelserver.saved_model.tensorflow_errors import translate
from modelserver.saved_model.warmup import warm_up

_log = logging.getLogger(__name__)

# Loading in another way cannot help against these…
_FINAL = (DataLossError, ResourceExhaustedError)
# …but may against these, where a first call fails with them: what the model needs is not there.
_LACKING = (FailedPreconditionError, NotFoundError)


def load_warm_bundle(path: str, options: SavedModelOptions) -> SavedModelBundle:
    """Load the SavedModel in directory `path` as `load_bundle` does, and warm it up if the options
    say so.

    Where the first calls show that the Session lacks something (a table that nothing has filled),
    and more of them succeed on eager functions, the bundle is of those. While that is being found
    out, the model is in memory twice.
    """
    bundle = load_bundle(path, options)
    if not options.enable_model_warmup:
        return bundle
    batch_sizes = options.warmup_batch_sizes or (1,)
    failures = warm_up(bundle, batch_sizes)
    if bundle.session is None or not any(issubclass(e, _LACKING) for e in failures):
        return bundle
    functions = _attempt(_load_functions, path, options)
    if isinstance(functions, ServingError):
        return bundle
    if len(warm_up(functions, batch_sizes)) >= len(failures):
        functions.close()
        return bundle
    _log.info("%s is loaded as eager functions, since its calls fail in a Session", path)
    bundle.close()
    return functions


def load_bundle(path: str, options: SavedModelOptions) -> SavedModelBundle:
    """Load the SavedModel in directory `path`.

    Raises a `ServingError`, and then holds nothing: NotFoundError for missing files or tags,
    DataLossError for corrupt files, FailedPreconditionError for a model without a signature to
    serve, and others as TensorFlow names them.
    """
    read_meta_graph(path, options.saved_model_tags)  # its errors are clearer than the loaders'
    result = _attempt(_load_into_session, path, options)
    if isinstance(result, ServingError) and not isinstance(result, _FINAL):
        _log.info("%s is loaded as eager functions, since in a Session: %s", path, result)
        functions = _attempt(_load_functions, path, options)
        result = result if isinstance(functions, ServingError) else functions
    if isinstance(result, ServingError):
        raise result
    if not result.signatures:  # it would displace a version that answers, and answer nothing
        result.close()
        raise FailedPreconditionError(f"{path} has no signature that can be served")
    return result


def _attempt(
    load: Callable[[str, SavedModelOptions], SavedModelBundle],
    path: str,
    options: SavedModelOptions,
) -> SavedModelBundle | ServingError:
    """Return the bundle or the error, which comes without its traceback: that would keep the
    half-loaded model in memory for as long as the version's state shows the error.
    """
    try:
        return load(path, options)
    except Exception as error:
        _log.debug("%s could not be loaded", path, exc_info=True)
        failure = translate(error).with_traceback(None)
    gc.collect()
    return failure


def _load_into_session(path: str, options: SavedModelOptions) -> SavedModelBundle:
    session, meta_graph = load_session(path, options)
    with ExitStack() as undo:
        undo.callback(session.close)
        graph = ModelGraph(meta_graph, find_op)
        signatures = read_signatures(meta_graph, graph)
        outputs = [spec.name for each in signatures.values() for spec in each.outputs.values()]
        check_variables(session, graph, outputs)
        if options.allow_freezing:
            session = _freeze_if_possible(session, signatures, path, options)
            undo.callback(session.close)
        runners = {
            name: SessionRunner(session, signature, options.inter_op_parallelism)
            for name, signature in signatures.items()
        }
        devices = [device.name for device in session.list_devices()]
        undo.pop_all()
    return SavedModelBundle(signatures, runners, strip_graph(meta_graph), session, devices)


def _freeze_if_possible(
    session: tf.compat.v1.Session,
    signatures: Mapping[str, Signature],
    path: str,
    options: SavedModelOptions,
) -> tf.compat.v1.Session:
    shards = Path(path, "variables").glob("variables.data-*")
    variable_bytes = sum(shard.stat().st_size for shard in shards)
    try:
        with without_deprecation_notices():
            frozen = freeze(session, signatures, variable_bytes, session_config(options))
    except Exception as error:  # conversion raises anything for what it does not know
        _log.info("%s is not frozen: %s", path, translate(error))
        return session
    session.close()
    _log.info("%s is frozen: %d bytes of variables are constants", path, variable_bytes)
    return frozen


def _load_functions(path: str, options: SavedModelOptions) -> SavedModelBundle:
    meta_graph = read_meta_graph(path, options.saved_model_tags)
    signatures = read_signatures(meta_graph, ModelGraph(meta_graph, find_op))
    loaded = tf.saved_model.load(path, tags=list(options.saved_model_tags))
    runners = {name: FunctionRunner(loaded, signature) for name, signature in signatures.items()}
    devices = [device.name for device in tf.config.list_logical_devices()]
    return SavedModelBundle(signatures, runners, strip_graph(meta_graph), None, devices)
