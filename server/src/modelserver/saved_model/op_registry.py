"""Looks up the definitions of TensorFlow's operations.

A MetaGraph lists those that it uses, but leaves out what stands in the branches of a condition and
the bodies of loops. The registry's module is private; without it, such models count as having
effects, and nothing else changes.
"""

from tensorflow.core.framework.op_def_pb2 import OpDef


def find_op(name: str) -> OpDef | None:
    """Return the definition of an operation of this process's TensorFlow, or None."""
    try:
        from tensorflow.python.framework import op_def_registry
    except ImportError:
        return None
    return op_def_registry.get(name)
