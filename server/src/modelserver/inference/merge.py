"""Merging the inputs of several requests into one run, and splitting its outputs. Pure, numpy only.

Rows are the entries along dimension 0. Arrays of strings (objects) are rows like any others. The
texts of the errors are TensorFlow Serving's where it has one.
"""

from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np

from modelserver.errors import FailedPreconditionError, InvalidArgumentError
from modelserver.inference.predictor import Tensors
from modelserver.inference.signature import Signature, TensorSpec

MAX_PADDED_RANK = 6
"""TensorFlow's pad operation goes no further."""


# One request…


class Typed(Protocol):
    """An array, or what is known of one before it is made."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of its elements."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""


def check_inputs(signature: Signature, inputs: Mapping[str, Typed]) -> None:
    """Check every input against its spec, so that a wrong request fails alone, before it joins
    others. Raises `InvalidArgumentError`.
    """
    for alias, array in inputs.items():
        spec = signature.inputs.get(alias)
        if spec is None:
            raise InvalidArgumentError(f"Signature '{signature.name}' has no input '{alias}'")
        if array.dtype != spec.dtype:
            raise InvalidArgumentError(
                f"Input '{alias}' of signature '{signature.name}' must be of type {spec.dtype}; "
                f"was {array.dtype}"
            )
        if not _has_shape(array, spec):
            raise InvalidArgumentError(
                f"Input '{alias}' of signature '{signature.name}' must be of shape "
                f"{_shape_text(spec.shape)}; was {_shape_text(array.shape)}"
            )
    if len(inputs) < len(signature.inputs):
        _check_omissions(signature, inputs)


def count_rows(inputs: Tensors) -> int:
    """The rows of a request: at least 1, the same number in every array. Raises
    `InvalidArgumentError` where that is not so.
    """
    if not inputs:
        raise InvalidArgumentError("Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs.values()):
        raise InvalidArgumentError("Batching Run() input tensors must have at least one dimension")
    first, *others = (len(array) for array in inputs.values())
    if any(size != first for size in others):
        raise InvalidArgumentError(
            "Batching Run() input tensors must have equal 0th-dimension size"
        )
    if first == 0:
        raise InvalidArgumentError("Batching Run() input tensors must have at least one row")
    return first


def non_batch_shape(signature: Signature, inputs: Tensors, *, is_padded: bool) -> Hashable:
    """What inputs must have in common to be merged: which of them are given, and their dimensions
    from 1 on, or, where `is_padded`, only how many of those there are.

    Only for inputs that `check_inputs` found right: dimensions that are fixed in the signature
    agree anyway.
    """
    given = [(alias, inputs[alias]) for alias in signature.inputs if alias in inputs]
    if is_padded:
        return tuple((alias, array.ndim) for alias, array in given)
    return tuple((alias, array.shape[1:]) for alias, array in given)


def slice_rows(tensors: Tensors, start: int, stop: int) -> dict[str, np.ndarray]:
    """Views of the rows from `start` up to `stop`."""
    return {alias: array[start:stop] for alias, array in tensors.items()}


def _has_shape(array: Typed, spec: TensorSpec) -> bool:
    if spec.shape is None or array.shape == spec.shape:
        return True
    return len(array.shape) == len(spec.shape) and all(
        expected is None or expected == actual
        for expected, actual in zip(spec.shape, array.shape, strict=True)
    )


def _shape_text(shape: Sequence[int | None] | None) -> str:
    """As TensorFlow prints shapes: [?,28,28]."""
    return f"[{','.join('?' if size is None else str(size) for size in shape or ())}]"


def _check_omissions(signature: Signature, inputs: Mapping[str, Typed]) -> None:
    defaults = signature.defaults or {}
    missing = [a for a in signature.inputs if a not in inputs and a not in defaults]
    if missing:
        raise InvalidArgumentError(
            f"Signature '{signature.name}' also needs the inputs: {', '.join(sorted(missing))}"
        )


# Several requests in…


def round_up(num_rows: int, allowed_batch_sizes: Sequence[int]) -> int:
    """The smallest allowed size that holds `num_rows`; `num_rows` where none is allowed or holds
    it. The sizes are in increasing order.
    """
    return next((size for size in allowed_batch_sizes if size >= num_rows), num_rows)


def merge_inputs(
    requests: Sequence[Tensors], num_rows: int, *, pads: bool
) -> dict[str, np.ndarray]:
    """Stack the rows of `requests`, at least one, in their order.

    Where they have fewer than `num_rows`, the first row of the last request is repeated at the end.
    Where `pads`, dimensions from 1 on are padded to the largest among the requests, each array with
    its own first element.

    Raises:
        FailedPreconditionError: shapes differ from dimension 1 on, and `pads` is False.
        InvalidArgumentError: an array cannot be padded.

    """
    return {
        alias: _stack(alias, [request[alias] for request in requests], num_rows, pads=pads)
        for alias in requests[0]
    }


def pad_to(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`array` with dimensions from 1 on grown to those of `shape`; new elements repeat its first
    one. Raises `InvalidArgumentError` where the rank is not from 1 to 6, or there is no first one.
    """
    if not 1 <= array.ndim <= MAX_PADDED_RANK:
        raise InvalidArgumentError("Only tensors with rank from 1 to 6 can be padded.")
    if array.shape[1:] == tuple(shape[1:]):
        return array
    if array.size < 1:
        raise InvalidArgumentError("Got empty tensor in batch of non-empty tensors.")
    padded = np.empty((array.shape[0], *shape[1:]), array.dtype)
    # Assigned as an array of one element, for a bare `bytes` would lose its trailing zeros.
    padded[...] = array[(slice(0, 1),) * array.ndim]
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded


def _stack(alias: str, arrays: Sequence[np.ndarray], num_rows: int, *, pads: bool) -> np.ndarray:
    if pads and len(arrays) > 1:
        arrays = _pad_to_largest(arrays)
    elif any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        raise FailedPreconditionError(
            f"Tensors with name '{alias}' from different tasks have different shapes and padding "
            "is turned off. Set pad_variable_length_inputs to true, or ensure that all tensors "
            "with the same name have equal dimensions starting with the first dim."
        )
    num_filler_rows = num_rows - sum(len(array) for array in arrays)
    if num_filler_rows > 0:
        row = arrays[-1][:1]
        arrays = [*arrays, np.broadcast_to(row, (num_filler_rows, *row.shape[1:]))]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _pad_to_largest(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    ranks = {array.ndim for array in arrays}
    if len(ranks) > 1:
        raise InvalidArgumentError(f"Tensors of different ranks in one batch: {sorted(ranks)}")
    largest = [max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True)]
    return [pad_to(array, largest) for array in arrays]


# …and their answers out


def split_outputs(
    outputs: Tensors, names: Sequence[Sequence[str]], sizes: Sequence[int], num_rows: int
) -> list[dict[str, np.ndarray]]:
    """Cut the outputs of a run over `num_rows` into views, for each request the outputs it asked
    for by `names`, in that order, with its `sizes` of rows; rows beyond their sum are dropped.

    Raises `FailedPreconditionError` where an output does not have one row for each input row, and
    KeyError where there is none of a name.
    """
    for array in outputs.values():
        if array.ndim == 0:
            raise FailedPreconditionError("Batched output tensor has 0 dimensions")
        if array.shape[0] != num_rows:
            raise FailedPreconditionError(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
                "sizes of the input tensors"
            )
    if len(sizes) == 1 and sizes[0] == num_rows:
        return [{alias: outputs[alias] for alias in names[0]}]
    bounds = pairwise(accumulate(sizes, initial=0))
    return [
        {alias: outputs[alias][start:stop] for alias in aliases}
        for aliases, (start, stop) in zip(names, bounds, strict=True)
    ]


def join_outputs(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put the answers to the parts of one request together again, in their order."""
    return {alias: np.concatenate([part[alias] for part in parts]) for alias in parts[0]}
