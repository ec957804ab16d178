"""Answers to Predict calls: single ones serialised, many alike cut from one serialisation."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from modelserver.core.servable import ServableId
from modelserver.errors import ServingError, as_serving_error
from modelserver.inference.predictor import Tensors
from modelserver.rpc.messages import PredictResponse
from modelserver.rpc.model_spec import effective_model_spec
from modelserver.rpc.replies import Replies
from modelserver.rpc.status import error_answer
from modelserver.rpc.tensors import encode, travels_raw

Kind: TypeAlias = tuple[str, np.dtype[np.generic], tuple[int, ...]]
"""An output: its name, its type, and the shape that it has in one answer."""


def serialize(id: ServableId, signature_name: str, outputs: Tensors, *, as_content: bool) -> bytes:
    """A PredictResponse, its tensors as `tensors.encode` makes them. Raises `UnimplementedError`
    for a type that does not travel.
    """
    tensors = {name: encode(array, as_content=as_content) for name, array in outputs.items()}
    model_spec = effective_model_spec(id, signature_name)
    return PredictResponse(outputs=tensors, model_spec=model_spec).SerializeToString()


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What the answers to requests of one form have in common, but for their outputs' types and
    shapes. `as_content` is as for `serialize`.
    """

    id: ServableId
    signature_name: str
    as_content: bool

    def serialize(self, outputs: Tensors) -> bytes:
        """One answer, as the function."""
        return serialize(self.id, self.signature_name, outputs, as_content=self.as_content)


class Answers:
    """Sends the answers of one form; it remembers how those to the latest outputs look.

    For any thread: at worst two find the same layout at once.
    """

    def __init__(self, form: AnswerForm) -> None:
        self._form = form
        self._latest: tuple[list[Kind], AnswerLayout | None] = [], None

    def answer(self, ids: Sequence[int], result: Tensors | ServingError, replies: Replies) -> None:
        """Answer one call with outputs, or several with equal parts of their rows; or each with an
        error, also where an answer cannot be made.
        """
        if not isinstance(result, ServingError):
            try:
                self._send(ids, result, replies)
            except Exception as error:  # a type that does not travel
                result = as_serving_error(error)
        if isinstance(result, ServingError):
            replies.send_many(ids, [error_answer(result)] * len(ids))

    def _send(self, ids: Sequence[int], outputs: Tensors, replies: Replies) -> None:
        kinds = kinds_of(outputs, len(ids))
        known, layout = self._latest
        if known != kinds:
            layout = find_layout(self._form, kinds)
            self._latest = kinds, layout
        if layout is None:
            replies.send_many(ids, [self._form.serialize(o) for o in _parts(outputs, len(ids))])
        else:
            replies.send_split(ids, *layout.pieces(outputs, len(ids)))


@dataclass(frozen=True, slots=True)
class AnswerLayout:
    """Where the values of the outputs stand in an answer: `text` has holes of `sizes` bytes at
    `starts`, one for each of `names`. All else is the same for outputs of the same kinds.
    """

    names: Sequence[str]
    text: bytes
    starts: Sequence[int]
    sizes: Sequence[int]
    prefix: bytes = field(init=False)
    """What stands before the first hole."""
    suffix: bytes = field(init=False)
    """What stands behind the last hole."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", self.text[: self.starts[0]])
        object.__setattr__(self, "suffix", self.text[self.starts[-1] + self.sizes[-1] :])

    def pieces(self, outputs: Tensors, count: int) -> tuple[np.ndarray, bytes, bytes]:
        """The answers to `count` requests as equal pieces between a prefix and a suffix."""
        if len(self.names) == 1:
            return _in_one_piece(outputs[self.names[0]]), self.prefix, self.suffix
        answers = np.empty((count, len(self.text)), np.uint8)
        answers[:] = np.frombuffer(self.text, np.uint8)
        for name, start, size in zip(self.names, self.starts, self.sizes, strict=True):
            answers[:, start : start + size] = _as_bytes(outputs[name]).reshape(count, size)
        return answers, b"", b""


def kinds_of(outputs: Tensors, count: int) -> list[Kind]:
    """What each of `count` answers has of `outputs`. One has all, whatever its shape: it need not
    have rows.
    """
    if count == 1:
        return [(name, a.dtype, a.shape) for name, a in outputs.items()]
    return [(name, a.dtype, (a.shape[0] // count, *a.shape[1:])) for name, a in outputs.items()]


def find_layout(form: AnswerForm, kinds: list[Kind]) -> AnswerLayout | None:
    """The layout of answers with such outputs; None where there is none, as the length of an answer
    depends on its values, or they are not numbers.

    It is not guessed: where an output stands is seen from what changes with its values.
    """
    is_raw = all(travels_raw(dtype, as_content=form.as_content) for _, dtype, _ in kinds)
    if not kinds or not is_raw or not all(math.prod(shape) for _, _, shape in kinds):
        return None
    before = {name: _sample(dtype, shape) for name, dtype, shape in kinds}
    text = form.serialize(before)
    starts = []
    for name, array in before.items():
        changed = _opposite(array)
        start = _changed_from(text, form.serialize(before | {name: changed}), changed.tobytes())
        if start is None:
            return None
        starts.append(start)
    return AnswerLayout(list(before), text, starts, [a.nbytes for a in before.values()])


def _sample(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> np.ndarray:
    """Values that survive a trip through a message bit by bit: 12.08 as a float, True as a bool."""
    if dtype.kind == "b":
        return np.ones(shape, dtype)
    return np.frombuffer(b"A" * (math.prod(shape) * dtype.itemsize), dtype).reshape(shape)


def _opposite(sample: np.ndarray) -> np.ndarray:
    """Such values that differ from the sample's in every byte."""
    if sample.dtype.kind == "b":
        return np.zeros_like(sample)
    return np.frombuffer(sample.tobytes().lower(), sample.dtype).reshape(sample.shape)


def _changed_from(before: bytes, after: bytes, values: bytes) -> int | None:
    """Where `values` stand in `after`, if that is all in which it differs from `before`."""
    if len(before) != len(after):
        return None
    changed = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
    if len(changed) != len(values):
        return None
    start = int(changed[0])
    return start if after[start : start + len(values)] == values else None


def _parts(outputs: Tensors, count: int) -> Iterator[Tensors]:
    """What each of `count` answers is made of."""
    if count == 1:
        yield outputs
        return
    for place in range(count):
        yield {
            name: array[place * len(array) // count : (place + 1) * len(array) // count]
            for name, array in outputs.items()
        }


def _in_one_piece(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "V":  # Python has no name for it
        return _as_bytes(array)
    return np.asarray(array, order="C")


def _as_bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
