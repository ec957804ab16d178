"""Answers to Predict calls: single ones serialised, many alike cut from one serialisation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from modelserver.core.servable import ServableId
from modelserver.inference.predictor import Tensors
from modelserver.rpc.messages import PredictResponse
from modelserver.rpc.model_spec import effective_model_spec
from modelserver.rpc.replies import Replies
from modelserver.rpc.tensors import encode, travels_raw

Kind: TypeAlias = tuple[np.dtype[np.generic], tuple[int, ...]]
"""The type of an output, and its dimensions from 1 on."""


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
    shapes. `num_rows` are those of one request; `as_content` is as for `serialize`.
    """

    id: ServableId
    signature_name: str
    num_rows: int
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
        self._layout: AnswerLayout | None = None

    def send(self, ids: Sequence[int], outputs: Tensors, replies: Replies) -> None:
        """Answer calls with their rows of `outputs`. Raises what an answer cannot be made for, and
        then has sent none.
        """
        layout = self._layout
        if layout is None or not layout.fits(outputs):
            layout = self._layout = find_layout(self._form, outputs)
        if layout is None:
            replies.send_many(ids, [self._serialize(outputs, n) for n in range(len(ids))])
        else:
            replies.send_split(ids, *layout.pieces(outputs, len(ids)))

    def _serialize(self, outputs: Tensors, place: int) -> bytes:
        start = place * self._form.num_rows
        stop = start + self._form.num_rows
        return self._form.serialize({name: array[start:stop] for name, array in outputs.items()})


@dataclass(frozen=True, slots=True)
class AnswerLayout:
    """Where the values of the outputs stand in an answer: `text` has holes of `sizes` bytes at
    `starts`, one for each of `names`. All else is the same for outputs of these `kinds`.
    """

    kinds: Sequence[Kind]
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

    def fits(self, outputs: Tensors) -> bool:
        """Whether these outputs, of any number of requests, have the types and shapes it is for."""
        return kinds_of(outputs) == self.kinds

    def pieces(self, outputs: Tensors, count: int) -> tuple[np.ndarray, bytes, bytes]:
        """The answers to `count` requests as equal pieces between a prefix and a suffix."""
        if len(self.names) == 1:
            return _in_one_piece(outputs[self.names[0]]), self.prefix, self.suffix
        answers = np.empty((count, len(self.text)), np.uint8)
        answers[:] = np.frombuffer(self.text, np.uint8)
        for name, start, size in zip(self.names, self.starts, self.sizes, strict=True):
            answers[:, start : start + size] = _as_bytes(outputs[name]).reshape(count, size)
        return answers, b"", b""


def kinds_of(outputs: Tensors) -> list[Kind]:
    """What a layout depends on."""
    return [(array.dtype, array.shape[1:]) for array in outputs.values()]


def find_layout(form: AnswerForm, outputs: Tensors) -> AnswerLayout | None:
    """The layout of answers with such outputs; None where there is none, as the length of an answer
    depends on its values, or they are not numbers.

    It is not guessed: of two answers with different values, one must be the other with the values
    exchanged.
    """
    shapes = {name: (form.num_rows, *array.shape[1:]) for name, array in outputs.items()}
    is_raw = all(travels_raw(a.dtype, as_content=form.as_content) for a in outputs.values())
    if not is_raw or not all(map(math.prod, shapes.values())):
        return None
    random = np.random.default_rng(seed=0)
    first, second = (
        {name: _sample(random, outputs[name].dtype, shape) for name, shape in shapes.items()}
        for _ in range(2)
    )
    text = form.serialize(first)
    starts = [text.find(_as_bytes(first[name]).tobytes()) for name in shapes]
    sizes = [first[name].nbytes for name in shapes]
    if min(starts) < 0:
        return None
    layout = AnswerLayout(kinds_of(outputs), list(shapes), text, starts, sizes)
    return layout if _fill(layout, second) == form.serialize(second) else None


def _sample(
    random: np.random.Generator, dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> np.ndarray:
    """Values whose bytes stand nowhere else in an answer, unless they are very few."""
    return (random.random(shape) * 100).astype(dtype)


def _fill(layout: AnswerLayout, outputs: Tensors) -> bytes:
    rows, prefix, suffix = layout.pieces(outputs, 1)
    return prefix + rows.tobytes() + suffix


def _in_one_piece(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "V":  # Python has no name for it
        return _as_bytes(array)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _as_bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
