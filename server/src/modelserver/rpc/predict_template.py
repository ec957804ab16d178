"""PredictTemplate: knows a Predict request by its bytes but the values, and so need not parse it.

The values of an input stand in one piece, as long as what stands before them says. When a parsed
request's length and all of its bytes but the values come again, the whole structure comes again:
model, version, signature, types and shapes are known, and the values are taken where they stand.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ref

import numpy as np
from google.protobuf.message import DecodeError

from modelserver.core.handle import ServableHandle
from modelserver.core.servable import ServableId, ServableRequest
from modelserver.inference.predictor import AsyncPredictor, Prediction
from modelserver.inference.request_list import RequestForm, form_of
from modelserver.rpc.answers import AnswerForm, Answers
from modelserver.rpc.messages import PredictRequest, TensorProto
from modelserver.rpc.model_spec import servable_request
from modelserver.rpc.tensors import DataType, travels_raw

MAX_TEMPLATES = 1024
"""Clients that send ever other shapes must not pile them up."""

_MAX_HEADER_BYTES = 4096
"""Of what is kept of a request: clients decide on it."""

_MAX_PLACES = 8
"""Where the values may stand: they may be those of other inputs, too, or zeros among others."""

_MAX_FAILURES = 16
"""Making a template costs more than parsing a request once."""


@dataclass(frozen=True, slots=True, eq=False)
class PredictTemplate:
    """A request of `num_bytes`, but for the values of each of its form's inputs, which stand from
    that one's place in `offsets` on.

    It holds only for `predictor` as version `id`, which `request` meant when it was made.
    """

    request: ServableRequest
    id: ServableId
    predictor: "ref[AsyncPredictor]"
    batch_key: Hashable
    """The same for templates whose requests may share runs."""
    form: RequestForm
    num_bytes: int
    offsets: Sequence[int]
    header: bytes
    """What stands before the values of all inputs."""
    rest: Sequence[tuple[int, bytes]]
    """Where everything else stands, and what: between those values and behind them."""
    answers: Answers

    def holds_for(self, handle: ServableHandle[object]) -> bool:
        """Whether its request still means what it meant."""
        return handle.servable is self.predictor() and handle.id == self.id

    def goes_on_in(self, body: bytes) -> bool:
        """Whether a body with its length and header fits altogether."""
        return all(body.startswith(text, start) for start, text in self.rest)


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
            if template is None or (template.rest and not template.goes_on_in(body)):
                unknown.append(place)
                continue
            if template is not last:
                last, add = template, known.setdefault(template, []).append
            add(place)
        return known, unknown

    def find(self, request: PredictRequest) -> tuple[PredictTemplate, list[bytes]] | None:
        """The template of a request that differs from one that has been seen in its values only,
        which must stand in `tensor_content`, and these, for each input of its form. They are taken
        out of the request then.
        """
        contents = _take_contents(request)
        template = self._by_rest.get(_rest_of(request)) if contents else None
        if template is not None:
            inputs = template.form.inputs
            if all(len(contents[given.alias]) == given.num_bytes for given in inputs):
                return template, [contents[given.alias] for given in inputs]
        _put_back(request, contents)
        return None

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
        size, key = len(template.header), (len(body), template.header)
        has_place = self._offsets.setdefault(len(body), size) == size
        if has_place:
            # The one that is there stays: two that differ behind it would take turns for ever.
            known = self._by_header.get(key)
            has_place = known is None or known.predictor() is None or known.rest == template.rest
        if has_place:
            self._by_header[key] = template
        contents = _take_contents(request)
        if contents:
            self._by_rest[_rest_of(request)] = template
        _put_back(request, contents)
        return has_place or bool(contents)

    def forget(self, template: PredictTemplate) -> None:
        """Know its requests no more."""
        tables: list[dict[Any, PredictTemplate]] = [self._by_header, self._by_rest]
        for known in tables:
            for key in [key for key, other in list(known.items()) if other is template]:
                known.pop(key, None)
        self._failures.pop(template.num_bytes, None)
        self._offsets.pop(template.num_bytes, None)


def _take_contents(request: PredictRequest) -> dict[str, bytes]:
    """Take the `tensor_content` of every input out of a request, by alias; nothing where one has
    none.
    """
    tensors = dict(request.inputs)
    contents = {alias: tensor.tensor_content for alias, tensor in tensors.items()}
    if not all(contents.values()):
        return {}
    for tensor in tensors.values():
        tensor.ClearField("tensor_content")
    return contents


def _put_back(request: PredictRequest, contents: Mapping[str, bytes]) -> None:
    for alias, content in contents.items():
        request.inputs[alias].tensor_content = content


def _rest_of(request: PredictRequest) -> bytes:
    """A request whose contents have been taken out, the same whatever order its inputs came in."""
    return request.SerializeToString(deterministic=True)


def make_template(
    body: bytes,
    request: PredictRequest,
    prediction: Prediction,
    handle: ServableHandle[AsyncPredictor],
    *,
    as_content: bool,
) -> PredictTemplate | None:
    """The template of a request that has been parsed and checked, and is for what `handle` holds;
    None where the values of an input do not stand in one piece, or in a way that does not tell
    where, or inputs differ in their rows. Its answers are made `as_content`, as `tensors.encode`
    has it.
    """
    signature, arrays, form = prediction.signature, prediction.inputs, form_of(prediction)
    if form is None:
        return None
    aliases = [given.alias for given in form.inputs]
    values = {alias: _values(request.inputs[alias], arrays[alias]) for alias in aliases}
    if len(body) - sum(map(len, values.values())) > _MAX_HEADER_BYTES:
        return None
    places = [_find(values[alias], body, request, alias) for alias in aliases]
    if -1 in places:
        return None
    sizes = [given.num_bytes for given in form.inputs]
    header, *rest = _between(body, zip(places, sizes, strict=True))
    return PredictTemplate(
        servable_request(request.model_spec),
        handle.id,
        ref(handle.servable),
        (id(handle.servable), signature.name, form.batch_shape),
        form,
        len(body),
        places,
        header[1],
        [(start, text) for start, text in rest if text],
        answers=Answers(AnswerForm(handle.id, signature.name, as_content)),
    )


def _values(proto: TensorProto, array: np.ndarray) -> bytes:
    """The values as they stand in the request, if they are all there as an array has them."""
    if proto.tensor_content:
        return proto.tensor_content
    if array.dtype.kind != "f" or not travels_raw(array.dtype, as_content=False):
        return b""
    sent = proto.float_val if array.dtype == np.float32 else proto.double_val
    return array.tobytes() if len(sent) == array.size else b""


def _find(values: bytes, body: bytes, request: PredictRequest, alias: str) -> int:
    """Where the values of an input stand; -1 where there are none, or that does not show."""
    if not values:
        return -1
    end = len(body)  # clients send them last, or nearly
    for _ in range(_MAX_PLACES):
        place = body.rfind(values, 0, end)
        if place < 0 or _is_there(body, place, values, request, alias):
            return place
        end = place + len(values) - 1
    return -1


def _is_there(body: bytes, offset: int, values: bytes, request: PredictRequest, alias: str) -> bool:
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
    elif tensor.dtype == DataType.float:
        tensor.float_val[:] = np.frombuffer(others, "<f4").tolist()
    else:
        tensor.double_val[:] = np.frombuffer(others, "<f8").tolist()
    changed = body[:offset] + others + body[offset + len(values) :]
    try:
        return PredictRequest.FromString(changed) == expected
    except DecodeError:  # they were not only values
        return False


def _between(body: bytes, pieces: Iterable[tuple[int, int]]) -> list[tuple[int, bytes]]:
    """What stands before, between and behind pieces, given by start and size, and where."""
    found, begin = [], 0
    for start, size in sorted(pieces):
        found.append((begin, body[begin:start]))
        begin = start + size
    return [*found, (begin, body[begin:])]
