"""PredictionService: `tensorflow.serving.PredictionService` over raw bytes."""

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeAlias, cast

import numpy as np

from modelserver.core.handle import ServableHandle
from modelserver.core.manager import Manager
from modelserver.core.servable import ServableId, ServableRequest
from modelserver.errors import (
    InvalidArgumentError,
    ServingError,
    UnimplementedError,
    as_serving_error,
)
from modelserver.inference.predictor import AsyncPredictor, Prediction
from modelserver.inference.request_list import form_of
from modelserver.rpc.answers import AnswerForm, Answers, serialize
from modelserver.rpc.checked_list import CheckedCall, CheckedList
from modelserver.rpc.messages import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    PredictRequest,
)
from modelserver.rpc.model_spec import (
    effective_model_spec,
    parse,
    required_model_spec,
    servable_request,
)
from modelserver.rpc.predict_list import PredictCalls, PredictList
from modelserver.rpc.predict_request import to_prediction
from modelserver.rpc.predict_template import (
    MAX_TEMPLATES,
    PredictTemplate,
    PredictTemplates,
    make_template,
)
from modelserver.rpc.replies import Replies
from modelserver.rpc.service import Handler, MethodCalls, Work, answer_each
from modelserver.rpc.signature_def import signature_def_map
from modelserver.rpc.status import error_answer
from modelserver.rpc.transport.base import Answer

_logger = logging.getLogger(__name__)

SERVICE_NAME = "tensorflow.serving.PredictionService"
SIGNATURE_DEF = "signature_def"
"""The one metadata field there is."""

ParsedCalls: TypeAlias = tuple[list[int], list[list[bytes]]]
"""The places of calls that a template fits, and for each the values of its inputs."""


class PredictionService:
    """A `Service` whose answers come from a manager's `AsyncPredictor`s.

    Each Predict call holds a handle on its version until its answer is made, and no longer.
    `encodes_as_content` puts output tensors into `tensor_content` rather than into typed fields
    (`enable_serialization_as_tensor_content`). Classify, Regress and MultiInference answer
    UNIMPLEMENTED.
    """

    def __init__(self, manager: Manager, *, encodes_as_content: bool = False) -> None:
        self._manager = manager
        self._encodes_as_content = encodes_as_content
        self._waiting: dict[int, CheckedCall] = {}
        self._templates = PredictTemplates()
        self._answers: dict[tuple[ServableId, str], Answers] = {}  # to calls that no template fits

    @property
    def methods(self) -> Mapping[str, Handler]:
        """The five methods of the service."""
        return {
            f"/{SERVICE_NAME}/Predict": self._predict_each,
            f"/{SERVICE_NAME}/GetModelMetadata": answer_each(self._get_model_metadata),
            f"/{SERVICE_NAME}/Classify": answer_each(partial(_refuse, "Classify")),
            f"/{SERVICE_NAME}/Regress": answer_each(partial(_refuse, "Regress")),
            f"/{SERVICE_NAME}/MultiInference": answer_each(partial(_refuse, "MultiInference")),
        }

    def cancel(self, ids: Sequence[int]) -> None:
        """Withdraw requests that still wait for their run."""
        for id in ids:
            call = self._waiting.get(id)
            if call is not None:
                _cancel(call)

    def _predict_each(self, calls: MethodCalls, replies: Replies) -> list[Work]:
        """Find out what arrived: calls that templates fit, and others of which several may be
        alike. Lists of those, which may be run at once, are work for when all else has been looked
        at; the rest is submitted.
        """
        known, unknown = self._templates.sort(calls.bodies)
        parsed: dict[PredictTemplate, ParsedCalls] = {}
        checked: dict[Hashable, CheckedList] = {}
        for place in unknown:
            self._recognise(calls, place, replies, parsed, checked)
        together: dict[Hashable, list[PredictList]] = {}
        for template, places in known.items():
            own, offsets = calls.of(places), template.offsets
            fitting = PredictCalls(template, own, [own.bodies] * len(offsets), offsets)
            self._claim_list(together, fitting, replies)
        for template, (places, contents) in parsed.items():
            own, sources = calls.of(places), list(zip(*contents, strict=True))
            fitting = PredictCalls(template, own, sources, [0] * len(sources))
            self._claim_list(together, fitting, replies)
        return [
            *(partial(self._submit_lists, lists) for lists in together.values()),
            *(partial(self._submit_checked, alike, replies) for alike in checked.values()),
        ]

    def _submit_lists(self, lists: list[PredictList]) -> None:
        may_run = lists[0].replies.may_run_models()
        try:
            is_taken = lists[0].predictor.submit_lists(lists, may_run=may_run)
        except Exception as error:  # against its contract: the handles must come back all the same
            for requests in lists:
                requests.give_up(as_serving_error(error))
            return
        if not is_taken:
            self._submit_singly(lists, learns=False)

    def _submit_checked(self, calls: CheckedList, replies: Replies) -> None:
        """Have them run at once or, since one that waits by itself can be withdrawn, one by one."""
        is_run = False
        if replies.may_run_models():
            try:
                is_run = calls.predictor.submit_lists([calls], may_queue=False)
            except Exception as error:  # against its contract
                calls.give_up(as_serving_error(error))
                return
        if not is_run:
            for call in calls.calls:
                self._submit(call, replies)

    def _recognise(
        self,
        calls: MethodCalls,
        place: int,
        replies: Replies,
        parsed: dict[PredictTemplate, ParsedCalls],
        checked: dict[Hashable, CheckedList],
    ) -> None:
        """Parse a request, and put it into `parsed` or, where it is like none before, check it and
        put it into `checked`, or submit it.
        """
        try:
            request = parse(PredictRequest, calls.bodies[place])
            found = self._templates.find(request)
            if found is None:
                self._collect(self._check(calls, place, request, learns=True), checked, replies)
                return
        except Exception as error:  # each call has its own answer
            replies.send(calls.ids[place], error_answer(error))
            return
        template, content = found
        places, contents = parsed.setdefault(template, ([], []))
        places.append(place)
        contents.append(content)

    def _collect(
        self, call: CheckedCall, checked: dict[Hashable, CheckedList], replies: Replies
    ) -> None:
        """Put a call to those that are alike, or submit it where it cannot be in a list."""
        key = call.form_key()
        if key not in checked:
            takes_lists = hasattr(call.handle.servable, "submit_lists")
            form = form_of(call.prediction) if takes_lists else None
            if form is None:
                self._submit(call, replies)
                return
            checked[key] = CheckedList(form, self._answers_of(call), replies)
        checked[key].calls.append(call)

    def _answers_of(self, call: CheckedCall) -> Answers:
        id, name = call.handle.id, call.prediction.signature.name
        if len(self._answers) >= MAX_TEMPLATES:  # versions come and go
            self._answers.clear()
        if (id, name) not in self._answers:
            form = AnswerForm(id, name, self._encodes_as_content)
            self._answers[id, name] = Answers(form)
        return self._answers[id, name]

    def _claim_list(
        self, together: dict[Hashable, list[PredictList]], calls: PredictCalls, replies: Replies
    ) -> None:
        """Add calls that a template fits, and the version that they mean, to those that may share
        its runs; or answer or submit them.
        """
        template = calls.template
        try:
            handle = self._manager.get_servable_handle(template.request)
        except ServingError as error:
            ids = calls.calls.ids
            replies.send_many(ids, [error_answer(error)] * len(ids))
            return
        requests = PredictList(calls, cast(ServableHandle[AsyncPredictor], handle), replies)
        if template.holds_for(handle):
            together.setdefault(template.batch_key, []).append(requests)
        else:  # what it was made for is served no more
            self._templates.forget(template)
            self._submit_singly([requests], learns=True)

    def _submit_singly(self, lists: Iterable[PredictList], *, learns: bool) -> None:
        for requests in lists:
            requests.release()
            for place in range(len(requests)):
                self._predict_one(requests.calls.calls, place, requests.replies, learns=learns)

    def _predict_one(
        self, calls: MethodCalls, place: int, replies: Replies, *, learns: bool
    ) -> None:
        try:
            request = parse(PredictRequest, calls.bodies[place])
            self._submit(self._check(calls, place, request, learns=learns), replies)
        except Exception as error:  # each call has its own answer
            replies.send(calls.ids[place], error_answer(error))

    def _check(
        self, calls: MethodCalls, place: int, request: PredictRequest, *, learns: bool
    ) -> CheckedCall:
        """Claim the version that a request means, and check it. Raises what it is refused with."""
        handle = self._claim(servable_request(required_model_spec(request)))
        try:
            prediction = to_prediction(request, handle.servable.signatures, calls.deadline(place))
            if learns and self._templates.wants(calls.bodies[place]):
                self._learn(calls.bodies[place], request, prediction, handle)
        except BaseException:
            handle.release()
            raise
        return CheckedCall(calls.ids[place], handle, prediction)

    def _learn(
        self,
        body: bytes,
        request: PredictRequest,
        prediction: Prediction,
        handle: ServableHandle[AsyncPredictor],
    ) -> None:
        if not hasattr(handle.servable, "submit_lists"):  # a plug-in's own, and older
            return
        as_content = self._encodes_as_content
        try:
            template = make_template(body, request, prediction, handle, as_content=as_content)
        except TypeError:  # the predictor of a plug-in that cannot be referred to weakly
            template = None
        self._templates.add(body, request, template)

    def _submit(self, call: CheckedCall, replies: Replies) -> None:
        def done(result: dict[str, np.ndarray] | ServingError) -> None:
            if self._waiting.pop(call.id, None) is not None:
                replies.send(call.id, self._finish(call, result))

        self._waiting[call.id] = call
        try:
            call.submit(done)
        except Exception as error:  # against its contract: the handle must come back all the same
            done(as_serving_error(error))

    def _finish(self, call: CheckedCall, result: dict[str, np.ndarray] | ServingError) -> Answer:
        """Make the answer and give the handle back."""
        with call.handle as handle:
            if isinstance(result, ServingError):
                return error_answer(result)
            name, as_content = call.prediction.signature.name, self._encodes_as_content
            try:
                return serialize(handle.id, name, result, as_content=as_content)
            except Exception as error:  # a type that does not travel: this call's answer
                return error_answer(error)

    def _claim(self, wanted: ServableRequest) -> ServableHandle[AsyncPredictor]:
        handle = self._manager.get_servable_handle(wanted)
        if not hasattr(handle.servable, "submit"):
            handle.release()
            raise InvalidArgumentError("Servable type doesn't match the asked for type.")
        return cast(ServableHandle[AsyncPredictor], handle)

    def _get_model_metadata(self, body: bytes) -> bytes:
        request = parse(GetModelMetadataRequest, body)
        spec = required_model_spec(request)
        _check_metadata_fields(request.metadata_field)
        with self._claim(servable_request(spec)) as handle:
            signatures = signature_def_map(handle.servable.signatures.values())
            response = GetModelMetadataResponse(model_spec=effective_model_spec(handle.id))
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response.SerializeToString()


def _cancel(call: CheckedCall) -> None:
    try:
        call.cancel()
    except Exception:  # against its contract: the others are cancelled all the same
        _logger.exception("A predictor failed to withdraw a request.")


def _check_metadata_fields(fields: Sequence[str]) -> None:
    if not fields:
        raise InvalidArgumentError(
            "GetModelMetadataRequest must specify at least one metadata_field"
        )
    for field in fields:
        if field != SIGNATURE_DEF:
            raise InvalidArgumentError(f"Metadata field {field} is not supported")


def _refuse(method: str, body: bytes) -> bytes:
    raise UnimplementedError(
        f"{method} is not supported by this server: call Predict with the model's inputs."
    )
