"""Calls into a Session at the lowest cost TensorFlow offers to Python.

`Session._make_callable_from_options` is private, and takes 10 µs a call where the public
`Session.make_callable` takes 80. It is used where it is there, and only in this file.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

TensorCallable: TypeAlias = Callable[..., Sequence[np.ndarray]]
"""Takes an array for each feed, in order, and returns one for each fetch. A fetch without
dimensions may come as a scalar (numpy's, or `bytes`). Thread-safe; releases the GIL while it
computes; raises `tf.errors.OpError`."""

_IN_CALLING_THREAD = -1
_IN_SHARED_POOL = 0


def make_callable(
    session: tf.compat.v1.Session, feeds: Sequence[str], fetches: Sequence[str], inter_op: int = 0
) -> TensorCallable:
    """Prepare a call that feeds and fetches these tensors, by name. At least one fetch, none fed.

    `inter_op` threads above 1 run the call in the Session's pool, else it runs in the thread that
    makes it. The arrays that come back may share memory with those that went in.
    """
    pool = _IN_SHARED_POOL if inter_op > 1 else _IN_CALLING_THREAD
    make = getattr(session, "_make_callable_from_options", None)
    if make is None:
        return _make_public_callable(session, feeds, fetches, pool)
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    options.run_options.inter_op_thread_pool = pool
    return cast(TensorCallable, make(options))


def _make_public_callable(
    session: tf.compat.v1.Session, feeds: Sequence[str], fetches: Sequence[str], pool: int
) -> TensorCallable:
    run = session.make_callable(list(fetches), feed_list=list(feeds), accept_options=True)
    options = tf.compat.v1.RunOptions(inter_op_thread_pool=pool)

    def call(*arrays: np.ndarray) -> Sequence[np.ndarray]:
        try:
            return cast(Sequence[np.ndarray], run(*arrays, options=options))
        except (TypeError, ValueError) as error:  # it checks shapes itself, in Python
            raise tf.errors.InvalidArgumentError(None, None, str(error)) from error

    return call
