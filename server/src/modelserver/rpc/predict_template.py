"""PredictTemplate: knows a Predict request by its first bytes, and so need not parse it.

A request's values stand in one piece, as long as its header says. When a parsed request's header,
its length and what follows the values come again, the whole structure comes again: model, version,
signature, type and shape are known, and the values are taken where they stand.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np
from google.protobuf.message import DecodeError

from modelserver.core.handle import ServableHandle
from modelserver.core.servable import ServableId, ServableRequest
from modelserver.inference.predictor import AsyncPredictor, Prediction
from modelserver.inference.request_list import RequestForm
from modelserver.rpc.answers import AnswerForm, Answers
from modelserver.rpc.messages import PredictRequest, TensorProto
from modelserver.rpc.model_spec import servable_request
from modelserver.rpc.tensors import travels_raw

MAX_TEMPLATES = 1024
"""Clients that send ever other shapes must not pile them up."""

_MAX_HEADER_BYTES = 4096
"""Of what is kept of a request: clients decide on it."""

_MAX_FAILURES = 16
"""Making a template costs more than parsing a request once."""


@dataclass(frozen=True, slots=True, eq=False)
class PredictTemplate:
    """A request but for its values, which are `form.num_bytes` from `offset` on of `num_bytes`
    altogether, with `tail` behind them.

    It holds only for `predictor` as version `id`, which `request` meant when it was made.
    """

    request: ServableRequest
    id: ServableId
    predictor: "ref[AsyncPredictor]"
    batch_key: Hashable
    """The same for templates whose requests may share runs."""
    form: RequestForm
    num_bytes: int
    offset: int
    tail: bytes
    answers: Answers

    def holds_for(self, handle: ServableHandle[object]) -> bool:
        """Whether its request still means what it meant."""
        return handle.servable is self.predictor() and handle.id == self.id


class PredictTemplates:
    """The templates of the requests that have been seen, `MAX_TEMPLATES` at most. For any thread.

    A request is known by its bytes (`sort`) or, where its header is written in another way, when it
    has been parsed (`find`). Of two requests of one length, but with headers of different lengths,
    only one can be known by its bytes.
    """

    def __init__(self) -> None:
        self._offsets: dict[int, int] = {}  # by the length of the body
        self._by_header: dict[tuple[int, bytes], PredictTemplate] = {}  # and by the length
        self._by_rest: dict[bytes, PredictTemplate] = {}
        self._failures: dict[int, int] = {}  # how often there was no template, by length

    def __len__(self) -> int:
        return len(self._by_header)

    def sort(self, bodies: Sequence[bytes]) -> tuple[dict[PredictTemplate, list[int]], list[int]]:
        """The places of the bodies that each template fits, in order, and of those that none does.

        The one loop over single requests that there is on their way in: it makes nothing for them.
        """
        known: dict[PredictTemplate, list[int]] = {}
        unknown: list[int] = []
        offset_of, by_header = self._offsets.get, self._by_header.get
        last, add = None, unknown.append
        for place, body in enumerate(bodies):
            size = len(body)
            template = by_header((size, body[: offset_of(size, 0)]))
            if template is None or not (template.tail == b"" or body.endswith(template.tail)):
                unknown.append(place)
                continue
            if template is not last:
                last, add = template, known.setdefault(template, []).append
            add(place)
        return known, unknown

    def find(self, request: PredictRequest) -> tuple[PredictTemplate, bytes] | None:
        """The template of a request that differs from one that has been seen in its values only,
        which must stand in `tensor_content`, and these.
        """
        with _apart(request) as (content, rest):
            template = self._by_rest.get(rest) if content else None
        if template is None or len(content) != template.form.num_bytes:
            return None
        return template, content

    def wants(self, body: bytes) -> bool:
        """Whether it is worth while to make a template of a request that none fits: not where that
        came to nothing with several of its length.
        """
        return self._failures.get(len(body), 0) < _MAX_FAILURES

    def add(self, body: bytes, request: PredictRequest, template: PredictTemplate | None) -> None:
        """Know the like of `body`, which is `request`, from now on; None = there is no template."""
        self._make_room()
        if template is None or not self._keep(body, request, template):
            self._failures[len(body)] = self._failures.get(len(body), 0) + 1

    def _make_room(self) -> None:
        kept: list[dict[Any, Any]] = [self._offsets, self._by_header, self._by_rest]
        kept.append(self._failures)
        if max(map(len, kept)) >= MAX_TEMPLATES:
            for known in kept:
                known.clear()

    def _keep(self, body: bytes, request: PredictRequest, template: PredictTemplate) -> bool:
        has_place = self._offsets.setdefault(len(body), template.offset) == template.offset
        if has_place:
            self._by_header[len(body), body[: template.offset]] = template
        with _apart(request) as (content, rest):
            if content:
                self._by_rest[rest] = template
        return has_place or bool(content)

    def forget(self, template: PredictTemplate) -> None:
        """Know its requests no more."""
        tables: list[dict[Any, PredictTemplate]] = [self._by_header, self._by_rest]
        for known in tables:
            for key in [key for key, other in list(known.items()) if other is template]:
                known.pop(key, None)
        self._failures.pop(template.num_bytes, None)
        self._offsets.pop(template.num_bytes, None)


@contextmanager
def _apart(request: PredictRequest) -> Iterator[tuple[bytes, bytes]]:
    """The `tensor_content` of a request's one input, and the request without it; both empty where
    there is no such thing.
    """
    tensors = list(request.inputs.values())
    content = tensors[0].tensor_content if len(tensors) == 1 else b""
    if not content:
        yield b"", b""
        return
    tensor = tensors[0]
    tensor.ClearField("tensor_content")
    try:
        yield content, request.SerializeToString()
    finally:
        tensor.tensor_content = content


def make_template(
    body: bytes,
    request: PredictRequest,
    prediction: Prediction,
    handle: ServableHandle[AsyncPredictor],
    *,
    as_content: bool,
) -> PredictTemplate | None:
    """The template of a request that has been parsed and checked, and is for what `handle` holds;
    None where its values do not stand in one piece, or in a way that does not tell where. Its
    answers are made `as_content`, as `tensors.encode` has it.
    """
    if len(request.inputs) != 1:
        return None
    ((alias, array),) = prediction.inputs.items()
    values = _values(request.inputs[alias], array)
    is_short = len(body) - len(values) <= _MAX_HEADER_BYTES
    offset = _place(body, values) if is_short and array.ndim and values else -1
    if offset < 0 or not _are_there(body, offset, values, request, alias):
        return None
    signature = prediction.signature
    form = RequestForm(signature, alias, array.dtype, array.shape, prediction.output_names)
    return PredictTemplate(
        servable_request(request.model_spec),
        handle.id,
        ref(handle.servable),
        (id(handle.servable), signature.name, form.batch_shape),
        form,
        len(body),
        offset,
        tail=body[offset + len(values) :],
        answers=Answers(AnswerForm(handle.id, signature.name, as_content)),
    )


def _values(proto: TensorProto, array: np.ndarray) -> bytes:
    """The values as they stand in the request, if they are all there as an array has them."""
    if proto.tensor_content:
        return proto.tensor_content
    is_complete = len(proto.float_val) == array.size or len(proto.double_val) == array.size
    if is_complete and array.dtype.kind == "f" and travels_raw(array.dtype, as_content=False):
        return array.tobytes()
    return b""


def _place(body: bytes, values: bytes) -> int:
    """Where the values may stand, -1 = nowhere: clients send them last, or nearly."""
    if body.endswith(values):
        return len(body) - len(values)
    return body.find(values)


def _are_there(
    body: bytes, offset: int, values: bytes, request: PredictRequest, alias: str
) -> bool:
    """Whether exchanging these bytes of `body` exchanges the values of the input, and nothing else.

    Tried, not guessed: the same bytes may stand elsewhere too, and a field that comes twice counts
    once.
    """
    others = bytes(len(values)) if any(values) else b"\1" * len(values)
    expected = PredictRequest()
    expected.CopyFrom(request)
    tensor = expected.inputs[alias]
    if tensor.tensor_content:
        tensor.tensor_content = others
    elif tensor.float_val:
        tensor.float_val[:] = np.frombuffer(others, "<f4").tolist()
    else:
        tensor.double_val[:] = np.frombuffer(others, "<f8").tolist()
    changed = body[:offset] + others + body[offset + len(values) :]
    try:
        return PredictRequest.FromString(changed) == expected
    except DecodeError:  # they were not only values
        return False
