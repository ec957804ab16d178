"""PredictionService on a real manager and a DirectPredictor, in one thread: `Server.serve` is what
the serve thread does with the calls that have arrived.
"""

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from modelserver.core.basic_manager import BasicManager
from modelserver.core.handle import ServableHandle
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.errors import FailedPreconditionError, ResourceExhaustedError
from modelserver.inference.direct import DirectPredictor
from modelserver.inference.predictor import Completion, Prediction
from modelserver.inference.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from modelserver.rpc.messages import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    SignatureDefMap,
    TensorProto,
)
from modelserver.rpc.prediction import PredictionService
from modelserver.rpc.replies import Replies
from modelserver.rpc.server import by_method
from modelserver.rpc.service import Work, method_names
from modelserver.rpc.tensors import DataType, decode, encode, encode_shape
from modelserver.rpc.transport.base import Answer, StatusCode
from modelserver.testing.clock import ManualClock
from modelserver.testing.executor import InlineExecutor, ManualExecutor
from modelserver.testing.loader import FakeLoader
from modelserver.testing.predictor import FakePredictor
from modelserver.testing.transport import MemoryCall, MemoryTransport

SERVICE = "/tensorflow.serving.PredictionService"
FLOAT = np.dtype(np.float32)
HALF_PLUS_TWO = Signature(
    DEFAULT_SIGNATURE,
    inputs={"x": TensorSpec("serving_default_x:0", FLOAT, (None,))},
    outputs={"y": TensorSpec("PartitionedCall:0", FLOAT, (None,))},
)
PAIR = Signature(
    "pair",
    inputs={"a": TensorSpec("a:0", FLOAT, (None, 2)), "b": TensorSpec("b:0", FLOAT, None)},
    outputs={"sum": TensorSpec("s:0", FLOAT, None), "text": TensorSpec("t:0", np.dtype("O"), ())},
)
WITH_DEFAULT = Signature(
    "with_default",
    inputs={"x": TensorSpec("x:0", FLOAT, (None,)), "k": TensorSpec("k:0", FLOAT, ())},
    outputs={"y": TensorSpec("y:0", FLOAT, (None,))},
    defaults={"k": np.float32(2)},
)


def compute(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if "a" in inputs:
        total = inputs["a"].sum() + inputs["b"].sum()
        return {"sum": np.asarray(total, FLOAT), "text": np.array(b"done", dtype=object)}
    return {"y": inputs["x"] / np.float32(2) + inputs.get("k", np.float32(2))}


class Server:
    """A service whose calls are served when the test says so."""

    def __init__(self, *, encodes_as_content: bool = False) -> None:
        self.clock = ManualClock()
        self.runs = ManualExecutor()
        self.predictor = FakePredictor(compute, [HALF_PLUS_TWO, PAIR, WITH_DEFAULT])
        self.manager = BasicManager(
            publish=lambda state: None,
            load_executor=InlineExecutor(),
            unload_executor=InlineExecutor(),
        )
        self.service = PredictionService(self.manager, encodes_as_content=encodes_as_content)
        self.transport = MemoryTransport(method_names([self.service]), self.clock)
        self.transport.start()
        self._replies = Replies(self.transport)
        self._handlers = list(self.service.methods.values())

    def load(self, version: int, servable: object = None, name: str = "m") -> FakeLoader:
        servable = servable or DirectPredictor(self.predictor, self.runs, self.clock)
        loader = FakeLoader(servable)
        self.manager.manage([ServableData(ServableId(name, version), loader)])
        self.manager.load(self.manager.harnesses(name)[version])
        self.manager.apply_events()
        return loader

    def unload(self, version: int) -> None:
        self.manager.unload(self.manager.harnesses("m")[version])
        self.manager.apply_events()

    def begin(self, request: PredictRequest, deadline: float | None = None) -> MemoryCall:
        body = request.SerializeToString()
        return self.transport.begin(f"{SERVICE}/Predict", body, deadline)

    def serve(self) -> None:
        calls = self.transport.next_calls(0)
        assert calls is not None
        work: list[Work] = []
        self._replies.collect()
        for method, method_calls in by_method(calls).items():
            work += self._handlers[method](method_calls, self._replies) or ()
        self._replies.end()
        for todo in work:
            todo()
        self.service.cancel(calls.cancelled)

    def predict(self, request: PredictRequest) -> Answer:
        call = self.begin(request)
        self.serve()
        self.runs.run_all()
        return call.answer()

    def ask(self, method: str, body: bytes) -> Answer:
        call = self.transport.begin(f"{SERVICE}/{method}", body)
        self.serve()
        return call.answer()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.load(1)
    yield server
    server.transport.stop(0)


def request(*output_filter: str, signature: str = "", **inputs: object) -> PredictRequest:
    """A PredictRequest for the model m; inputs that are no TensorProto are sent as float."""
    tensors = {
        alias: value if isinstance(value, TensorProto) else encode(np.asarray(value, FLOAT))
        for alias, value in inputs.items()
    }
    spec = ModelSpec(name="m", signature_name=signature)
    return PredictRequest(model_spec=spec, inputs=tensors, output_filter=output_filter)


def claim(kind: DataType, size: int, **fields: Any) -> TensorProto:
    return TensorProto(dtype=kind, tensor_shape=encode_shape((size,)), **fields)


def outputs(answer: Answer) -> dict[str, object]:
    assert isinstance(answer, bytes), answer
    response = PredictResponse.FromString(answer)
    return {alias: decode(proto, alias).tolist() for alias, proto in response.outputs.items()}


# Answers…


def test_predict_answers_with_outputs_and_the_effective_model_spec(server: Server) -> None:
    server.load(3)

    answer = server.predict(request(x=[1, 2]))

    assert outputs(answer) == {"y": [2.5, 3.0]}
    spec = PredictResponse.FromString(answer).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 3, "serving_default")


def test_predict_answers_from_the_version_asked_for(server: Server) -> None:
    server.load(3)
    asked = request(x=[1])
    asked.model_spec.version.value = 1

    answer = server.predict(asked)

    assert PredictResponse.FromString(answer).model_spec.version.value == 1


def test_predict_answers_from_the_version_that_a_label_names(server: Server) -> None:
    server.load(3)
    server.manager.set_labels("m", {"stable": 1})
    asked = request(x=[1])
    asked.model_spec.version_label = "stable"

    answer = server.predict(asked)

    spec = PredictResponse.FromString(answer).model_spec
    assert (spec.version.value, spec.version_label) == (1, "")


def test_all_outputs_are_computed_when_none_is_named(server: Server) -> None:
    answer = server.predict(request(signature="pair", a=[[1, 2]], b=3))

    assert outputs(answer) == {"sum": 6.0, "text": b"done"}
    assert PredictResponse.FromString(answer).model_spec.signature_name == "pair"


def test_only_the_named_outputs_are_computed(server: Server) -> None:
    answer = server.predict(request("text", signature="pair", a=[[1, 2]], b=3))

    assert outputs(answer) == {"text": b"done"}
    assert server.predictor.calls[0].output_names == ("text",)


def test_an_input_with_a_default_may_be_left_out(server: Server) -> None:
    assert outputs(server.predict(request(signature="with_default", x=[2]))) == {"y": [3.0]}


def test_outputs_stand_in_typed_fields_by_default(server: Server) -> None:
    answer = server.predict(request(x=[1]))

    tensor = PredictResponse.FromString(answer).outputs["y"]
    assert (list(tensor.float_val), tensor.tensor_content) == ([2.5], b"")


def test_outputs_stand_in_the_tensor_content_when_asked() -> None:
    server = Server(encodes_as_content=True)
    server.load(1)

    answer = server.predict(request(x=[1]))

    tensor = PredictResponse.FromString(answer).outputs["y"]
    assert (list(tensor.float_val), tensor.tensor_content) == ([], np.float32(2.5).tobytes())


def test_the_deadline_of_a_call_is_its_prediction_s(server: Server) -> None:
    call = server.begin(request(x=[1]), deadline=server.clock.monotonic() + 5)
    server.serve()
    server.clock.advance(6)

    server.runs.run_all()

    assert call.answer()[0] == StatusCode.DEADLINE_EXCEEDED
    assert server.predictor.calls == []


# Refusals…


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        (PredictRequest(), StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            PredictRequest(model_spec=ModelSpec()),
            StatusCode.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        (
            PredictRequest(model_spec=ModelSpec(name="other")),
            StatusCode.NOT_FOUND,
            "Servable not found for request: Latest(other)",
        ),
        (
            PredictRequest(model_spec=ModelSpec(name="m", version={"value": 7})),
            StatusCode.NOT_FOUND,
            "Servable not found for request: Specific(m, 7)",
        ),
        (
            PredictRequest(model_spec=ModelSpec(name="m", version_label="canary")),
            StatusCode.INVALID_ARGUMENT,
            "Unrecognized servable version label: canary",
        ),
        (
            request(signature="nope", x=[1]),
            StatusCode.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (
            request(x=[1], z=[2], q=[3]),
            StatusCode.INVALID_ARGUMENT,
            "input size does not match signature: 3!=1 len({q,x,z}) != len({x}). "
            "Sent extra: {q,z}. Missing but required: {}.",
        ),
        (
            request(signature="pair", a=[[1, 2]]),
            StatusCode.INVALID_ARGUMENT,
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). "
            "Sent extra: {}. Missing but required: {b}.",
        ),
        (
            request(z=[1]),
            StatusCode.INVALID_ARGUMENT,
            "Signature input alias: x(feed name: serving_default_x:0) not found in request and no "
            "default value provided. Inputs expected to be in the request {z}, or default input "
            "alias set: ",
        ),
        (
            request(signature="with_default", x=[1], z=[1]),
            StatusCode.INVALID_ARGUMENT,
            "Inputs contains invalid name. Used request inputs: x, request input: x,z",
        ),
        (
            request(x=claim(DataType.float, 1, tensor_content=b"123")),
            StatusCode.INVALID_ARGUMENT,
            "tensor parsing error: x: tensor_content has 3 bytes, shape [1] of float needs 4",
        ),
        (
            request(x=claim(DataType.float, 1 << 40, float_val=[1])),
            StatusCode.INVALID_ARGUMENT,
            "tensor parsing error: x: float_val has 1 elements, shape [1099511627776] has "
            "1099511627776, and the last may stand for 16777216 more at most",
        ),
        (
            request("y", "y", x=[1]),
            StatusCode.INVALID_ARGUMENT,
            "duplicate output tensor alias: y",
        ),
        (
            request("nope", signature="pair", a=[[1, 2]], b=3),
            StatusCode.INVALID_ARGUMENT,
            "output tensor alias not found in signature: nope "
            "Outputs expected to be in the set {sum,text}.",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_tensorflow_serving_s_words(
    server: Server, asked: PredictRequest, code: StatusCode, message: str
) -> None:
    assert server.predict(asked) == (code, message)


def test_an_input_of_the_wrong_type_is_refused_by_name(server: Server) -> None:
    code, message = server.predict(request(x=encode(np.array([1], np.int32))))

    assert code == StatusCode.INVALID_ARGUMENT
    assert "Input 'x'" in str(message)


def test_an_input_of_the_wrong_shape_is_refused_by_name(server: Server) -> None:
    code, message = server.predict(request(signature="pair", a=[1, 2, 3], b=1))

    assert code == StatusCode.INVALID_ARGUMENT
    assert "Input 'a'" in str(message)


@pytest.mark.parametrize(
    "sent",
    [
        claim(DataType.uint8, 3 << 30, int_val=[1]),
        claim(DataType.string, 50_000_000, string_val=[b"a"]),
    ],
)
def test_an_input_of_the_wrong_type_is_refused_before_its_values_are_looked_at(
    server: Server, sent: TensorProto
) -> None:
    code, message = server.predict(request(x=sent))

    assert code == StatusCode.INVALID_ARGUMENT
    assert "must be of type float32" in str(message)


def test_a_servable_of_another_kind_is_refused(server: Server) -> None:
    server.load(9, servable={"a": "lookup table"})

    answer = server.predict(request(x=[1]))

    assert answer == (
        StatusCode.INVALID_ARGUMENT,
        "Servable type doesn't match the asked for type.",
    )


def test_a_body_that_is_no_request_is_invalid(server: Server) -> None:
    code, message = server.ask("Predict", b"\xff\xff")

    assert code == StatusCode.INVALID_ARGUMENT
    assert "is not a serialized tensorflow.serving.PredictRequest" in str(message)


def test_a_model_s_error_is_the_answer(server: Server) -> None:
    def fail(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise ResourceExhaustedError("no memory left")

    server.predictor = FakePredictor(fail, [HALF_PLUS_TWO])
    server.load(2)

    answer = server.predict(request(x=[1]))

    assert answer == (StatusCode.RESOURCE_EXHAUSTED, "no memory left")


def test_an_output_that_cannot_travel_is_that_call_s_error(server: Server) -> None:
    server.predictor = FakePredictor(
        lambda inputs: {"y": np.zeros(1, ml_dtypes.float8_e5m2)}, [HALF_PLUS_TWO]
    )
    loader = server.load(2)

    answer = server.predict(request(x=[1]))
    server.unload(2)

    assert answer == (
        StatusCode.UNIMPLEMENTED,
        "Tensors of type float8_e5m2 are not supported.",
    )
    assert loader.unloads == 1


def test_one_wrong_request_does_not_touch_its_neighbours(server: Server) -> None:
    calls = [server.begin(asked) for asked in (request(x=[1]), request(), request(x=[2]))]

    server.serve()
    server.runs.run_all()

    first, second, third = (call.answer() for call in calls)
    assert (outputs(first), outputs(third)) == ({"y": [2.5]}, {"y": [3.0]})
    assert second[0] == StatusCode.INVALID_ARGUMENT


def test_an_error_with_a_broken_file_name_does_not_touch_its_neighbours(server: Server) -> None:
    def claim_handle(asked: ServableRequest) -> ServableHandle[Any]:
        if asked.version == 9:
            raise FailedPreconditionError("cannot read /models/\udcff")
        return get_handle(asked)

    get_handle = server.manager.get_servable_handle
    server.manager.get_servable_handle = claim_handle  # type: ignore[method-assign]
    broken = request(x=[1])
    broken.model_spec.version.value = 9
    calls = [server.begin(asked) for asked in (request(x=[1]), broken, request(x=[2]))]

    server.serve()
    server.runs.run_all()

    first, second, third = (call.answer() for call in calls)
    assert (outputs(first), outputs(third)) == ({"y": [2.5]}, {"y": [3.0]})
    assert second == (StatusCode.FAILED_PRECONDITION, r"cannot read /models/\udcff")


@pytest.mark.parametrize("method", ["Classify", "Regress", "MultiInference"])
def test_methods_on_examples_are_unimplemented(server: Server, method: str) -> None:
    answer = server.ask(method, b"")

    assert answer == (
        StatusCode.UNIMPLEMENTED,
        f"{method} is not supported by this server: call Predict with the model's inputs.",
    )


# Handles and cancellation…


def test_a_version_is_kept_until_its_last_answer_is_made(server: Server) -> None:
    loader = server.load(2)
    call = server.begin(request(x=[1]))
    server.serve()
    server.unload(2)
    assert loader.unloads == 0

    server.runs.run_all()
    server.manager.apply_events()

    assert outputs(call.answer()) == {"y": [2.5]}
    assert loader.unloads == 1


def test_a_refused_request_gives_its_version_back(server: Server) -> None:
    loader = server.load(2)
    server.predict(request())

    server.unload(2)

    assert loader.unloads == 1


def test_a_cancelled_call_that_still_waits_is_not_computed(server: Server) -> None:
    loader = server.load(2)
    call = server.begin(request(x=[1]))
    server.serve()

    call.cancel()
    server.serve()
    server.runs.run_all()
    server.unload(2)

    assert server.predictor.calls == []
    assert loader.unloads == 1


def test_a_predictor_that_fails_to_withdraw_a_request_does_not_keep_the_others_waiting(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bool:
        raise ZeroDivisionError("broken")

    class Broken(DirectPredictor):
        def submit(self, prediction: Prediction, done: Completion) -> Callable[[], bool]:
            withdraw = super().submit(prediction, done)
            return fail if prediction.inputs["x"][0] == 1 else withdraw

    server.load(2, Broken(server.predictor, server.runs, server.clock))
    calls = [server.begin(request(x=[x])) for x in (1, 2)]
    server.serve()

    for call in calls:
        call.cancel()
    server.serve()
    server.runs.run_all()

    assert [call.inputs["x"].tolist() for call in server.predictor.calls] == [[1.0]]
    assert "failed to withdraw" in caplog.text


def test_a_cancellation_that_comes_after_the_answer_does_nothing(server: Server) -> None:
    call = server.begin(request(x=[1]))
    server.serve()
    server.runs.run_all()

    call.cancel()
    server.serve()

    assert outputs(call.answer()) == {"y": [2.5]}


def test_a_predictor_that_breaks_its_contract_and_raises_gives_its_handle_back(
    server: Server,
) -> None:
    class Broken(DirectPredictor):
        def submit(self, *args: object) -> None:  # type: ignore[override]  # that is the point
            raise ZeroDivisionError("broken")

    loader = server.load(2, Broken(server.predictor, server.runs, server.clock))

    answer = server.predict(request(x=[1]))
    server.unload(2)

    assert answer == (StatusCode.INTERNAL, "ZeroDivisionError: broken")
    assert loader.unloads == 1


# Metadata…


def metadata_request(*fields: str, name: str = "m") -> GetModelMetadataRequest:
    return GetModelMetadataRequest(model_spec=ModelSpec(name=name), metadata_field=fields)


def ask_metadata(server: Server, asked: GetModelMetadataRequest) -> Answer:
    return server.ask("GetModelMetadata", asked.SerializeToString())


def test_metadata_describes_every_signature(server: Server) -> None:
    answer = ask_metadata(server, metadata_request("signature_def"))

    assert isinstance(answer, bytes)
    response = GetModelMetadataResponse.FromString(answer)
    assert (response.model_spec.name, response.model_spec.version.value) == ("m", 1)
    assert response.model_spec.signature_name == ""
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = SignatureDefMap.FromString(packed.value).signature_def
    assert sorted(signatures) == ["pair", "serving_default", "with_default"]
    assert signatures["pair"].method_name == "tensorflow/serving/predict"
    a, b = signatures["pair"].inputs["a"], signatures["pair"].inputs["b"]
    assert (a.name, a.dtype, [dim.size for dim in a.tensor_shape.dim]) == ("a:0", 1, [-1, 2])
    assert b.tensor_shape.unknown_rank
    assert signatures["pair"].outputs["text"].dtype == 7
    assert list(signatures["with_default"].defaults["k"].float_val) == [2.0]


def test_metadata_leaves_out_a_signature_whose_types_do_not_travel(server: Server) -> None:
    spec = TensorSpec("q:0", np.dtype(ml_dtypes.float8_e5m2), (None,))
    quantised = Signature("quantised", inputs={"q": spec}, outputs={"q": spec})
    server.predictor = FakePredictor(compute, [HALF_PLUS_TWO, quantised])
    server.load(2)

    answer = ask_metadata(server, metadata_request("signature_def"))

    assert isinstance(answer, bytes)
    packed = GetModelMetadataResponse.FromString(answer).metadata["signature_def"]
    assert list(SignatureDefMap.FromString(packed.value).signature_def) == ["serving_default"]


@pytest.mark.parametrize(
    ("asked", "code", "message"),
    [
        (GetModelMetadataRequest(), StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            metadata_request(),
            StatusCode.INVALID_ARGUMENT,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            metadata_request("signature_def", "size"),
            StatusCode.INVALID_ARGUMENT,
            "Metadata field size is not supported",
        ),
        (
            metadata_request("signature_def", name=""),
            StatusCode.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        (
            metadata_request("signature_def", name="other"),
            StatusCode.NOT_FOUND,
            "Servable not found for request: Latest(other)",
        ),
    ],
)
def test_a_wrong_metadata_request_is_refused_in_tensorflow_serving_s_words(
    server: Server, asked: GetModelMetadataRequest, code: StatusCode, message: str
) -> None:
    assert ask_metadata(server, asked) == (code, message)


def test_asking_for_metadata_gives_the_version_back(server: Server) -> None:
    loader = server.load(2)
    ask_metadata(server, metadata_request("signature_def"))

    server.unload(2)

    assert loader.unloads == 1
