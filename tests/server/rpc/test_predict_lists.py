"""Predict calls that come together, through PredictionService and real predictors: each has its own
answer, whichever way it took.

`Server.serve` is what the serve thread does with the calls that have arrived.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelserver.batching import SharedBatchScheduler
from modelserver.core.basic_manager import BasicManager
from modelserver.core.servable import ServableData, ServableId
from modelserver.errors import InvalidArgumentError, UnavailableError
from modelserver.inference import BatchedPredictor, BatchingOptions, DirectPredictor
from modelserver.inference.predictor import Completion, Prediction, Tensors
from modelserver.inference.request_list import RequestList
from modelserver.inference.signature import DEFAULT_SIGNATURE, Signature, TensorSpec
from modelserver.rpc.messages import ModelSpec, PredictRequest, PredictResponse
from modelserver.rpc.prediction import PredictionService
from modelserver.rpc.replies import Replies
from modelserver.rpc.server import RpcServer, by_method
from modelserver.rpc.service import Work, method_names
from modelserver.rpc.tensors import decode, encode
from modelserver.rpc.transport.base import Answer, ContiguousBuffer, StatusCode
from modelserver.testing.clock import ManualClock
from modelserver.testing.executor import InlineExecutor
from modelserver.testing.loader import FakeLoader
from modelserver.testing.predictor import FakePredictor
from modelserver.testing.transport import MemoryCall, MemoryTransport

PREDICT = "/tensorflow.serving.PredictionService/Predict"
FLOAT = np.dtype(np.float32)


def row_wise(name: str, dtype: Any = FLOAT) -> Signature:
    spec = TensorSpec("t:0", np.dtype(dtype), None)
    return Signature(name, inputs={"x": spec}, outputs={"y": spec, "z": spec})


DTYPES = {
    str(np.dtype(kind)): np.dtype(kind)
    for kind in (np.float64, np.float16, ml_dtypes.bfloat16, np.complex64, np.int8, np.bool_)
}
TOTAL = Signature(
    "total",
    inputs={"x": TensorSpec("x:0", FLOAT, (None,))},
    outputs={"y": TensorSpec("y:0", FLOAT, ())},
)
FIXED = Signature(
    "fixed",
    inputs={"x": TensorSpec("x:0", FLOAT, (4,))},
    outputs={"y": TensorSpec("y:0", FLOAT, (4,))},
)
PAIR = Signature(
    "pair",
    inputs={"x": TensorSpec("x:0", FLOAT, None), "n": TensorSpec("n:0", np.dtype(np.int64), None)},
    outputs={"y": TensorSpec("y:0", FLOAT, None)},
)
"""Multiplies each row of x by its n."""
SIGNATURES = [
    row_wise(DEFAULT_SIGNATURE),
    row_wise("other"),
    row_wise("text", object),
    PAIR,
    TOTAL,
    FIXED,
    *(row_wise(name, dtype) for name, dtype in DTYPES.items()),
]


class Model(FakePredictor):
    """Gives the rows it gets, `factor` times, as y, and their sums, row by row, as z.

    A -13 among them is too much for it. Each run takes `seconds`.
    """

    def __init__(self, factor: int = 1, *, blocks: bool = False) -> None:
        super().__init__(self.compute, SIGNATURES, blocks=blocks)
        self.factor = factor
        self.clock = ManualClock()
        self.seconds = 0.0
        self.threads: list[int] = []

    def compute(self, inputs: Tensors) -> dict[str, np.ndarray]:
        self.threads.append(threading.get_ident())
        self.clock.advance(self.seconds)
        x = inputs["x"]
        if -13 in x:
            raise InvalidArgumentError("no 13 here")
        if "n" in inputs:
            return {"y": x * inputs["n"].astype(x.dtype)}
        y = x if self.factor == 1 else x * x.dtype.type(self.factor)
        return {"y": y, "z": y.reshape(len(y), -1)[:, 0]}

    def predict(
        self, signature_name: str, inputs: Tensors, output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        if signature_name == "total":
            return {"y": np.asarray(inputs["x"].sum())}
        return super().predict(signature_name, inputs, output_names)


class Server:
    """A service whose calls are served when the test says so.

    `place` puts a model behind an `AsyncPredictor`.
    """

    def __init__(
        self,
        place: Callable[[Model], Any],
        transport: type[MemoryTransport] = MemoryTransport,
        *,
        encodes_as_content: bool = False,
    ) -> None:
        self.place = place
        self.manager = BasicManager(
            publish=lambda state: None,
            load_executor=InlineExecutor(),
            unload_executor=InlineExecutor(),
        )
        self.service = PredictionService(self.manager, encodes_as_content=encodes_as_content)
        self.clock = ManualClock()
        self.transport = transport(method_names([self.service]), self.clock)
        self.transport.start()
        self._replies = Replies(self.transport)
        self._handlers = list(self.service.methods.values())

    def load(self, version: int, model: Model, name: str = "m") -> FakeLoader:
        return self.load_servable(version, self.place(model), name)

    def load_servable(self, version: int, servable: object, name: str = "m") -> FakeLoader:
        loader = FakeLoader(servable)
        self.manager.manage([ServableData(ServableId(name, version), loader)])
        self.manager.load(self.manager.harnesses(name)[version])
        self.manager.apply_events()
        return loader

    def unload(self, version: int, name: str = "m") -> None:
        self.manager.unload(self.manager.harnesses(name)[version])
        self.manager.apply_events()

    def begin(self, request: PredictRequest | bytes, deadline: float | None = None) -> MemoryCall:
        body = request if isinstance(request, bytes) else request.SerializeToString()
        return self.transport.begin(PREDICT, body, deadline)

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

    def predict(self, *requests: PredictRequest | bytes) -> list[Answer]:
        """Serve requests that came together."""
        calls = [self.begin(request) for request in requests]
        self.serve()
        return [call.answer() for call in calls]


def request(
    x: object,
    *output_filter: str,
    name: str = "m",
    as_content: bool = True,
    **spec: Any,
) -> PredictRequest:
    array = x if isinstance(x, np.ndarray) else np.asarray(x, FLOAT)
    return PredictRequest(
        model_spec=ModelSpec(name=name, **spec),
        inputs={"x": encode(array, as_content=as_content)},
        output_filter=output_filter,
    )


def four(start: float, **spec: Any) -> PredictRequest:
    """One request of four rows, 16 bytes."""
    return request([start, start + 1, start + 2, start + 3], "y", **spec)


def y(answer: Answer) -> Any:
    assert isinstance(answer, bytes), answer
    return decode(PredictResponse.FromString(answer).outputs["y"], "y").tolist()


def version(answer: Answer) -> int:
    assert isinstance(answer, bytes), answer
    return int(PredictResponse.FromString(answer).model_spec.version.value)


def rows(start: float) -> list[float]:
    return [start, start + 1, start + 2, start + 3]


def computed(model: Model) -> list[float]:
    """The values of all runs so far."""
    return [value for call in model.calls for value in call.inputs["x"].tolist()]


@pytest.fixture
def scheduler() -> Iterator[SharedBatchScheduler]:
    """One thread, on a clock that stands still, so that all runs are light."""
    with SharedBatchScheduler(1, clock=ManualClock()) as scheduler:
        yield scheduler


@pytest.fixture
def batched(scheduler: SharedBatchScheduler) -> Callable[[Model], BatchedPredictor]:
    def place(model: Model) -> BatchedPredictor:
        assert isinstance(scheduler.clock, ManualClock)
        model.clock = scheduler.clock
        return BatchedPredictor(model, scheduler, BatchingOptions(max_batch_size=16))

    return place


def direct(model: Model) -> DirectPredictor:
    return DirectPredictor(model, InlineExecutor(), model.clock)


@pytest.fixture(params=["batched", "direct"])
def place(
    request: pytest.FixtureRequest, batched: Callable[[Model], BatchedPredictor]
) -> Callable[[Model], Any]:
    return batched if request.param == "batched" else direct


@pytest.fixture
def server(place: Callable[[Model], Any]) -> Server:
    return Server(place)


# Known requests…


def test_requests_that_are_alike_are_each_answered_with_their_own_values(server: Server) -> None:
    server.load(1, Model())
    server.predict(four(0))

    answers = server.predict(*(four(10 * n) for n in range(1, 8)))

    assert [y(answer) for answer in answers] == [rows(10 * n) for n in range(1, 8)]
    assert {version(answer) for answer in answers} == {1}


def test_requests_that_are_alike_share_a_run(batched: Callable[[Model], Any]) -> None:
    server, model = Server(batched), Model()
    server.load(1, model)
    server.predict(four(0))

    server.predict(four(1), four(2), four(3))

    assert model.batch_sizes == [4, 12]
    assert computed(model)[4:] == [*rows(1), *rows(2), *rows(3)]


def test_light_runs_are_made_by_the_thread_that_serves(server: Server) -> None:
    model = Model()
    server.load(1, model)
    server.predict(four(0))

    server.predict(four(1), four(2))

    assert set(model.threads[1:]) == {threading.get_ident()}


def test_more_than_a_batch_of_requests_are_answered(server: Server) -> None:
    model = Model()
    server.load(1, model)
    server.predict(four(0))

    answers = server.predict(*(four(10 * n) for n in range(11)))

    assert [y(answer) for answer in answers] == [rows(10 * n) for n in range(11)]
    assert max(model.batch_sizes) <= 16


def test_requests_whose_values_stand_in_fields_are_answered(server: Server) -> None:
    server.load(1, Model())
    server.predict(four(0, as_content=False))

    answers = server.predict(*(four(n, as_content=False) for n in (3, 7)))

    assert [y(answer) for answer in answers] == [rows(3), rows(7)]


def test_requests_whose_header_is_written_in_another_way_are_answered_in_the_same_run(
    batched: Callable[[Model], Any],
) -> None:
    server, model = Server(batched), Model()
    server.load(1, model)
    server.predict(four(0))
    usual = four(5)
    inputs = PredictRequest(inputs=usual.inputs).SerializeToString()
    rest = PredictRequest(model_spec=usual.model_spec, output_filter=["y"]).SerializeToString()

    answers = server.predict(four(1), inputs + rest, four(3))

    assert [y(answer) for answer in answers] == [rows(1), rows(5), rows(3)]
    assert model.batch_sizes == [4, 12]


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("name", DTYPES)
def test_every_type_is_answered(place: Callable[[Model], Any], name: str, as_content: bool) -> None:
    server = Server(place, encodes_as_content=as_content)
    server.load(1, Model())
    values = [np.arange(n, n + 16).astype(DTYPES[name]) for n in (0, 20, 40)]
    asked = [request(value, "y", signature_name=name) for value in values]
    server.predict(asked[0])

    answers = server.predict(*asked)

    assert [y(answer) for answer in answers] == [value.tolist() for value in values]


def test_requests_with_several_inputs_share_a_run(batched: Callable[[Model], Any]) -> None:
    server, model = Server(batched), Model()
    server.load(1, model)

    def asked(start: float, is_reversed: bool = False) -> bytes:
        spec = PredictRequest(model_spec=ModelSpec(name="m", signature_name="pair"))
        x, n = np.asarray(rows(start), FLOAT), np.arange(4) + int(start)
        inputs = [{"x": encode(x, as_content=True)}, {"n": encode(n, as_content=True)}]
        parts = [PredictRequest(inputs=own) for own in inputs[:: -1 if is_reversed else 1]]
        return b"".join(part.SerializeToString() for part in [spec, *parts])

    server.predict(asked(0))

    answers = server.predict(asked(1), asked(2), asked(3, is_reversed=True))

    for start, answer in zip((1, 2, 3), answers, strict=True):
        assert y(answer) == [(start + row) ** 2 for row in range(4)]
    assert model.batch_sizes == [4, 12]


def test_a_request_may_be_many_dimensional(server: Server) -> None:
    server.load(1, Model())
    values = [np.arange(n, n + 24, dtype=FLOAT).reshape(2, 3, 4) for n in (0, 100, 200)]
    server.predict(request(values[0]))

    answers = server.predict(*map(request, values))

    assert [y(answer) for answer in answers] == [value.tolist() for value in values]


def test_requests_that_want_other_outputs_each_get_those(server: Server) -> None:
    server.load(1, Model())
    kinds = [("y",), ("z",), ("z", "y"), ()]
    for kind in kinds:
        server.predict(request(rows(0), *kind))

    answers = server.predict(*(request(rows(n), *kinds[n % 4]) for n in range(8)))

    for n, answer in enumerate(answers):
        assert isinstance(answer, bytes)
        outputs = PredictResponse.FromString(answer).outputs
        assert {name: decode(proto, name).tolist() for name, proto in outputs.items()} == (
            dict.fromkeys(kinds[n % 4] or ("y", "z"), rows(n))
        )


def test_requests_of_different_rows_share_a_run(batched: Callable[[Model], Any]) -> None:
    server, model = Server(batched), Model()
    server.load(1, model)
    asked = [request(list(range(10, 10 + size))) for size in (4, 6, 5)]
    for one in asked:
        server.predict(one)

    answers = server.predict(*asked)

    assert [y(answer) for answer in answers] == [[*range(10, 10 + n)] for n in (4, 6, 5)]
    assert model.batch_sizes[3:] == [15]


# Many kinds at once…


def test_known_unknown_and_wrong_requests_to_several_models_each_have_their_own_answer(
    server: Server,
) -> None:
    server.load(1, Model())
    server.load(5, Model(10), name="ten")
    server.predict(four(0), four(0, name="ten"))

    answers = server.predict(
        four(1),
        b"\xff\xff",
        four(2, name="ten"),
        four(3, name="nobody"),
        four(4, signature_name="other"),
        four(5),
        request([-13, 1, 2, 3], "y"),
        request(np.arange(4), "y"),
        PredictRequest(),
        four(7, name="ten"),
        request(rows(8), "nope"),
        four(9, version={"value": 7}),
        request([1, 2, 3]),
        four(10),
    )

    right = {0: rows(1), 2: [20, 30, 40, 50], 4: rows(4), 5: rows(5), 9: [70, 80, 90, 100]}
    right |= {12: [1, 2, 3], 13: rows(10)}
    assert {n: y(answers[n]) for n in right} == right
    wrong = {n: answer[0] for n, answer in enumerate(answers) if not isinstance(answer, bytes)}
    assert wrong == {
        1: StatusCode.INVALID_ARGUMENT,
        3: StatusCode.NOT_FOUND,
        6: StatusCode.INVALID_ARGUMENT,
        7: StatusCode.INVALID_ARGUMENT,
        8: StatusCode.INVALID_ARGUMENT,
        10: StatusCode.INVALID_ARGUMENT,
        11: StatusCode.NOT_FOUND,
    }
    assert answers[6] == (StatusCode.INVALID_ARGUMENT, "no 13 here")


KINDS: list[Callable[[float], PredictRequest | bytes]] = [
    lambda n: four(n),
    lambda n: four(n, name="ten"),
    lambda n: four(n, name="nobody"),
    lambda n: four(n, as_content=False),
    lambda n: four(n, version={"value": 1}),
    lambda n: four(n, signature_name="fixed"),
    lambda n: four(n, signature_name="total"),
    lambda n: request([[n, n, n], [1, n, 2]]),
    lambda n: request([n]),
    lambda n: request([n, -13, n, n], "y"),
    lambda n: b"no request at all, but long enough %d" % n,
]


@given(lists=st.lists(st.lists(st.sampled_from(range(len(KINDS))), max_size=8), max_size=4))
def test_a_request_is_answered_as_it_would_be_alone_whatever_comes_with_it(
    lists: list[list[int]],
) -> None:
    server, lonely = Server(direct), Server(direct)
    for each in (server, lonely):
        each.load(1, Model())
        each.load(2, Model(10), name="ten")
    for kinds in lists:
        asked = [KINDS[kind](14 + n) for n, kind in enumerate(kinds)]

        answers = server.predict(*asked)

        assert answers == [Server.predict(lonely, one)[0] for one in asked]
        lonely.service = PredictionService(lonely.manager)  # knows no request
        lonely._handlers = list(lonely.service.methods.values())


def test_a_request_that_makes_its_run_fail_fails_alone(server: Server) -> None:
    server.load(1, Model())
    server.predict(four(0))

    good, bad, fine = server.predict(four(1), request([-13, 1, 2, 3], "y"), four(2))

    assert (y(good), y(fine)) == (rows(1), rows(2))
    assert bad == (StatusCode.INVALID_ARGUMENT, "no 13 here")


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [1, 2, 3, 4, 5]])
def test_outputs_that_are_no_rows_arrive_as_they_are(server: Server, values: list[float]) -> None:
    server.load(1, Model())
    asked = request(values, signature_name="total")
    (first,) = server.predict(asked)

    answers = server.predict(asked, asked, asked)

    assert answers == [first] * 3
    assert y(first) == sum(values)


def test_a_signature_of_fixed_size_is_answered(server: Server) -> None:
    server.load(1, Model())
    server.predict(four(0, signature_name="fixed"))

    answers = server.predict(*(four(n, signature_name="fixed") for n in (1, 2)))

    assert [y(answer) for answer in answers] == [rows(1), rows(2)]


def test_an_output_that_cannot_travel_is_the_error_of_the_calls_that_asked_for_it(
    server: Server,
) -> None:
    class Odd(Model):
        def compute(self, inputs: Tensors) -> dict[str, np.ndarray]:
            return {**super().compute(inputs), "z": inputs["x"].astype(ml_dtypes.float8_e5m2)}

    loader = server.load(1, Odd())
    for output in ("y", "z"):
        server.predict(request(rows(0), output))

    answers = server.predict(*(request(rows(n), "yz"[n % 2]) for n in range(4)))
    server.unload(1)

    assert [y(answers[0]), y(answers[2])] == [rows(0), rows(2)]
    error = (StatusCode.UNIMPLEMENTED, "Tensors of type float8_e5m2 are not supported.")
    assert [answers[1], answers[3]] == [error, error]
    assert loader.unloads == 1


# Versions…


def test_calls_reach_a_new_version_at_once(server: Server) -> None:
    server.load(1, Model())
    server.predict(four(0))
    server.predict(four(0), four(1))

    server.load(2, Model(2))
    first = server.predict(four(1), four(2))
    later = server.predict(four(3), four(4))

    for answers, starts in ((first, (1, 2)), (later, (3, 4))):
        assert [y(a) for a in answers] == [[2 * v for v in rows(n)] for n in starts]
        assert [version(a) for a in answers] == [2, 2]


def test_calls_to_a_new_version_share_runs_soon(batched: Callable[[Model], Any]) -> None:
    server, model = Server(batched), Model(2)
    server.load(1, Model())
    server.predict(four(0))

    server.load(2, model)
    server.predict(four(1))
    server.predict(four(2), four(3))

    assert model.batch_sizes == [4, 8]
    assert model.threads[-1] == threading.get_ident()  # single ones go to the scheduler's


def test_calls_return_to_the_old_version_when_the_new_one_goes(server: Server) -> None:
    server.load(1, Model())
    server.load(2, Model(2))
    server.predict(four(0))

    server.unload(2)
    answers = server.predict(four(1), four(2))

    assert [(version(a), y(a)) for a in answers] == [(1, rows(1)), (1, rows(2))]


def test_calls_follow_a_label(server: Server) -> None:
    server.load(1, Model())
    server.load(2, Model(2))
    server.manager.set_labels("m", {"stable": 1})
    asked = four(1, version_label="stable")
    server.predict(asked)

    before = server.predict(asked, asked)
    server.manager.set_labels("m", {"stable": 2})
    after = server.predict(asked, asked)

    assert [version(answer) for answer in [*before, *after]] == [1, 1, 2, 2]


def test_a_servable_that_stands_for_two_versions_is_called_by_the_right_one(
    server: Server,
) -> None:
    servable = server.place(Model())
    server.load_servable(1, servable)
    server.predict(four(0))
    server.predict(four(0))

    server.load_servable(2, servable)
    latest = server.predict(four(1), four(2))
    first = server.predict(four(1, version={"value": 1}), four(2))

    assert [version(answer) for answer in latest] == [2, 2]
    assert [version(answer) for answer in first] == [1, 2]


def test_when_a_model_is_gone_its_calls_are_refused(server: Server) -> None:
    server.load(1, Model())
    server.predict(four(0))

    server.unload(1)
    answers = server.predict(four(1), four(2))

    refusal = (StatusCode.NOT_FOUND, "Servable not found for request: Latest(m)")
    assert answers == [refusal, refusal]


def test_calls_reach_a_version_that_was_loaded_again(server: Server) -> None:
    server.load(1, Model())
    server.predict(four(0))
    server.unload(1)

    server.load(1, Model(3))
    answers = server.predict(four(1), four(2))

    assert [y(a) for a in answers] == [[3 * v for v in rows(n)] for n in (1, 2)]


def test_calls_are_checked_against_the_version_that_was_loaded_again(server: Server) -> None:
    server.load(1, Model())
    server.predict(four(0))
    server.unload(1)
    five = TensorSpec("x:0", FLOAT, (5,))
    model = FakePredictor(signatures=[Signature(DEFAULT_SIGNATURE, {"x": five}, {"y": five})])

    server.load_servable(1, DirectPredictor(model, InlineExecutor(), server.clock))
    server.predict(request([1, 2, 3, 4, 5]))  # from here on it is known to be light
    answers = server.predict(four(1), four(2))

    assert [answer[0] for answer in answers] == [StatusCode.INVALID_ARGUMENT] * 2
    assert model.batch_sizes == [5]


# Handles…


def test_a_version_is_given_back_after_the_last_answer(server: Server) -> None:
    loader = server.load(1, Model())
    server.predict(four(0))
    server.predict(four(1), four(2), request([-13, 1, 2, 3], "y"))

    server.unload(1)

    assert loader.unloads == 1


def test_a_version_is_kept_while_others_of_the_same_list_have_no_answer_yet(
    server: Server,
) -> None:
    unloads = []

    class Unloading(Model):
        def compute(self, inputs: Tensors) -> dict[str, np.ndarray]:
            if 60 in inputs["x"]:
                server.unload(1)
                unloads.append(loader.unloads)
            return super().compute(inputs)

    model = Unloading()
    loader = server.load(1, model)
    server.predict(four(0))

    answers = server.predict(*(four(10 * n) for n in range(1, 9)))
    server.manager.apply_events()

    assert len(model.calls) > 2
    assert unloads == [0]
    assert [y(answer) for answer in answers] == [rows(10 * n) for n in range(1, 9)]
    assert loader.unloads == 1


def heavy(model: Model) -> Model:
    """Its runs take a second: they go to the scheduler's threads."""
    model.seconds = 1.0
    return model


def test_a_version_is_kept_until_its_last_answer(
    batched: Callable[[Model], Any], scheduler: SharedBatchScheduler
) -> None:
    server, model = Server(batched), heavy(Model(blocks=True))
    loader = server.load(1, model)
    begun = server.begin(four(0))
    server.serve()
    model.wait_until_called()
    calls = [server.begin(four(n)) for n in (1, 2)]
    server.serve()

    server.unload(1)
    unloads_before = loader.unloads
    model.finish()
    answers = [call.answer() for call in [begun, *calls]]
    scheduler.stop()
    server.manager.apply_events()

    assert unloads_before == 0
    assert [y(answer) for answer in answers] == [rows(0), rows(1), rows(2)]
    assert loader.unloads == 1


def test_calls_that_were_cancelled_before_their_run_are_not_computed(
    batched: Callable[[Model], Any], scheduler: SharedBatchScheduler
) -> None:
    server, model = Server(batched), heavy(Model())
    loader = server.load(1, model)
    server.predict(four(0))
    blocker = FakePredictor(blocks=True)
    occupy(scheduler, blocker)
    calls = [server.begin(four(10 * n)) for n in range(5)]
    server.serve()

    for place in (0, 3):
        calls[place].cancel()
    server.serve()
    blocker.finish()
    answers = [call.answer() for call in calls]
    scheduler.stop()
    server.unload(1)

    assert [y(answers[n]) for n in (1, 2, 4)] == [rows(10), rows(20), rows(40)]
    assert [answers[n][0] for n in (0, 3)] == [StatusCode.CANCELLED] * 2
    assert computed(model)[4:] == [*rows(10), *rows(20), *rows(40)]
    assert loader.unloads == 1


def occupy(scheduler: SharedBatchScheduler, blocker: FakePredictor) -> None:
    """Keep the scheduler's thread busy until `blocker.finish`."""
    prediction = Prediction(blocker.signatures[DEFAULT_SIGNATURE], {"x": np.zeros(1, FLOAT)}, ["y"])
    BatchedPredictor(blocker, scheduler, BatchingOptions()).submit(prediction, lambda _: None)
    blocker.wait_until_called()


@pytest.mark.parametrize("num_cancelled", [1, 3])
def test_a_version_is_given_back_whoever_was_cancelled(
    batched: Callable[[Model], Any], scheduler: SharedBatchScheduler, num_cancelled: int
) -> None:
    server, model = Server(batched), heavy(Model())
    loader = server.load(1, model)
    server.predict(four(0))
    blocker = FakePredictor(blocks=True)
    occupy(scheduler, blocker)
    calls = [server.begin(four(n)) for n in range(3)]
    server.serve()

    for call in calls[:num_cancelled]:
        call.cancel()
    server.serve()
    blocker.finish()
    scheduler.stop()
    server.unload(1)

    assert loader.unloads == 1
    assert len(model.calls) == (1 if num_cancelled == 3 else 2)


def test_calls_whose_deadline_passed_before_their_run_are_not_computed(
    batched: Callable[[Model], Any], scheduler: SharedBatchScheduler
) -> None:
    server, model = Server(batched), heavy(Model())
    loader = server.load(1, model)
    server.predict(four(0))
    blocker = FakePredictor(blocks=True)
    occupy(scheduler, blocker)
    hurried = server.begin(four(1), deadline=server.clock.monotonic() + 1)
    patient = server.begin(four(2))
    server.serve()

    server.clock.advance(1)
    blocker.finish()
    answer = patient.answer()
    scheduler.stop()
    server.unload(1)

    assert hurried.answer()[0] == StatusCode.DEADLINE_EXCEEDED
    assert y(answer) == rows(2)
    assert computed(model)[4:] == rows(2)
    assert loader.unloads == 1


def test_calls_of_a_light_model_that_were_cancelled_are_not_computed(server: Server) -> None:
    model = Model()
    server.load(1, model)
    server.predict(four(0))
    calls = [server.begin(four(10 * n)) for n in range(3)]
    taken = server.transport.next_calls(0)
    assert taken is not None

    calls[1].cancel()
    for todo in server._handlers[0](by_method(taken)[0], Replies(server.transport)) or ():
        todo()

    assert [y(calls[n].answer()) for n in (0, 2)] == [rows(0), rows(20)]
    assert computed(model)[4:] == [*rows(0), *rows(20)]


class Broken(MemoryTransport):
    """Takes single answers only."""

    def reply_split(
        self, ids: Sequence[int], rows: ContiguousBuffer, prefix: bytes, suffix: bytes
    ) -> None:
        raise UnavailableError("the network is gone")


class Gone(Broken):
    """Takes no answers at all, once `is_gone`."""

    is_gone = False

    def reply_many(self, ids: Sequence[int], answers: Sequence[Answer]) -> None:
        if self.is_gone:
            raise UnavailableError("the network is gone")
        super().reply_many(ids, answers)


def test_when_the_answers_cannot_be_sent_the_calls_are_told(place: Callable[[Model], Any]) -> None:
    server = Server(place, Broken)
    loader = server.load(1, Model())
    server.predict(four(0))

    answers = server.predict(four(1), four(2))
    server.unload(1)

    assert answers == [(StatusCode.UNAVAILABLE, "the network is gone")] * 2
    assert loader.unloads == 1


def test_when_nothing_can_be_sent_the_version_is_given_back(
    place: Callable[[Model], Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(place, Gone)
    loader = server.load(1, Model())
    server.predict(four(0))
    assert isinstance(server.transport, Gone)
    for n in (1, 2):
        server.begin(four(n))

    server.transport.is_gone = True
    server.serve()
    server.unload(1)

    assert loader.unloads == 1
    assert "Answering" in caplog.text


# Requests that no template fits…


def text(*values: bytes) -> PredictRequest:
    """One request of a few strings: no two are alike in their bytes."""
    return request(np.array(values, object), "y", signature_name="text")


def test_requests_that_no_template_fits_share_a_run_of_a_light_model(
    batched: Callable[[Model], Any],
) -> None:
    server, model = Server(batched), Model()
    server.load(1, model)
    server.predict(text(b"first"))

    answers = server.predict(text(b"a"), text(b"bcd"), text(b"", b"e"), text(b"fg"))

    assert [y(answer) for answer in answers] == [[b"a"], [b"bcd"], [b"", b"e"], [b"fg"]]
    assert [sorted(call.inputs["x"].tolist()) for call in model.calls[1:]] == [
        [b"a", b"bcd", b"fg"],
        [b"", b"e"],
    ]
    assert set(model.threads[1:]) == {threading.get_ident()}


def test_what_is_wrong_with_a_request_that_no_template_fits_is_its_own_answer(
    server: Server,
) -> None:
    loader = server.load(1, Model())
    integers = [np.array([n, n], np.int8) for n in (1, -13, 3)]
    asked = [request(x, "y", signature_name="int8", as_content=False) for x in integers]
    server.predict(asked[0])

    answers = server.predict(*asked, request(integers[0], "no such output", signature_name="int8"))
    server.unload(1)

    assert [y(answers[0]), y(answers[2])] == [[1, 1], [3, 3]]
    assert answers[1] == (StatusCode.INVALID_ARGUMENT, "no 13 here")
    assert isinstance(answers[3], tuple)
    assert answers[3][0] is StatusCode.INVALID_ARGUMENT
    assert loader.unloads == 1


def test_requests_that_no_template_fits_and_that_differ_in_shape_each_get_their_answer(
    server: Server,
) -> None:
    server.load(1, Model())
    server.predict(text(b"first"))
    asked = [(b"a",), (b"b", b"c"), (b"d",), (b"e", b"f"), (b"g", b"h", b"i")]

    answers = server.predict(*(text(*values) for values in asked))

    assert [y(answer) for answer in answers] == [list(values) for values in asked]


def test_requests_that_no_template_fits_are_checked_against_the_version_they_mean(
    server: Server,
) -> None:
    server.load(1, Model())
    server.load(2, Model())
    server.predict(text(b"first"))

    def asked(number: int) -> PredictRequest:
        values = np.array([b"%d" % number], object)
        return request(values, "y", signature_name="text", version={"value": number})

    answers = server.predict(asked(1), text(b"latest"), asked(2))

    assert [version(answer) for answer in answers] == [1, 2, 2]
    assert [y(answer) for answer in answers] == [[b"1"], [b"latest"], [b"2"]]


def test_those_of_them_to_a_servable_that_stands_for_two_versions_say_which_one(
    place: Callable[[Model], Any],
) -> None:
    server, servable = Server(place), place(Model())
    server.load_servable(1, servable)
    server.load_servable(2, servable)
    server.predict(text(b"first"))

    def asked(number: int) -> PredictRequest:
        values = np.array([b"%d" % number], object)
        return request(values, "y", signature_name="text", version={"value": number})

    answers = server.predict(asked(1), asked(2), asked(1))

    assert [version(answer) for answer in answers] == [1, 2, 1]
    assert [y(answer) for answer in answers] == [[b"1"], [b"2"], [b"1"]]


def test_those_of_them_that_were_cancelled_before_their_run_are_not_computed(
    batched: Callable[[Model], Any],
) -> None:
    server, model = Server(batched), Model()
    loader = server.load(1, model)
    server.predict(text(b"first"))
    calls = [server.begin(text(value)) for value in (b"a", b"b")]

    received = server.transport.next_calls(0)
    assert received is not None
    replies = Replies(server.transport)
    work = list(server.service.methods[PREDICT](by_method(received)[0], replies) or ())
    calls[0].cancel()
    for todo in work:
        todo()
    server.unload(1)

    assert y(calls[1].answer()) == [b"b"]
    assert [call.inputs["x"].tolist() for call in model.calls[1:]] == [[b"b"]]
    assert loader.unloads == 1


def test_those_of_them_that_must_wait_can_be_withdrawn(
    scheduler: SharedBatchScheduler,
) -> None:
    """A model that is not known to be light: they wait in its queue one by one."""

    def place(model: Model) -> BatchedPredictor:
        return BatchedPredictor(model, scheduler, BatchingOptions(batch_timeout_micros=1_000_000))

    server, model = Server(place), Model()
    loader = server.load(1, model)
    call = server.begin(text(b"a"))
    server.serve()

    call.cancel()
    server.serve()
    server.unload(1)

    assert model.calls == []
    assert loader.unloads == 1


# Predictors of other kinds…


class Singly(DirectPredictor):
    """Takes no lists."""

    def submit_lists(self, lists: Sequence[RequestList], **how: bool) -> bool:
        return False


def test_calls_to_a_predictor_that_takes_no_lists_are_answered_one_by_one() -> None:
    server, model = Server(lambda model: Singly(model, InlineExecutor(), ManualClock())), Model()
    loader = server.load(1, model)
    server.predict(four(0))

    answers = server.predict(four(1), request([-13, 1, 2, 3], "y"), four(2))
    server.unload(1)

    assert [y(answers[0]), y(answers[2])] == [rows(1), rows(2)]
    assert answers[1] == (StatusCode.INVALID_ARGUMENT, "no 13 here")
    assert loader.unloads == 1


class Slotted:
    """A predictor that nothing can refer to weakly."""

    __slots__ = ("_direct", "signatures")

    def __init__(self, model: Model) -> None:
        self._direct = direct(model)
        self.signatures = model.signatures

    def submit(self, prediction: Prediction, done: Completion) -> Callable[[], bool]:
        return self._direct.submit(prediction, done)


def test_calls_to_a_predictor_that_cannot_be_remembered_are_answered() -> None:
    server = Server(Slotted)
    server.load(1, Model())
    server.predict(four(0))

    answers = server.predict(four(1), four(2))

    assert [y(answer) for answer in answers] == [rows(1), rows(2)]


class Raising(DirectPredictor):
    """Breaks its contract."""

    def submit_lists(self, lists: Sequence[RequestList], **how: bool) -> bool:
        raise ZeroDivisionError("broken")


def test_a_predictor_that_breaks_its_contract_and_raises_gives_its_handles_back() -> None:
    server = Server(lambda model: Raising(model, InlineExecutor(), ManualClock()))
    loader = server.load(1, Model())
    server.load(1, Model(), name="ok")
    server.predict(four(0), four(0, name="ok"))

    answers = server.predict(four(1), four(2))
    server.unload(1)

    assert answers == [(StatusCode.INTERNAL, "ZeroDivisionError: broken")] * 2
    assert loader.unloads == 1


# On real threads…


class Client:
    """Makes calls, as many at once as lists are made of, until `stop`."""

    def __init__(self, server: Server, start: int) -> None:
        self._server = server
        self._starts = range(start, start + 6)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        self.wrong: list[Answer] = []

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            calls = [self._server.begin(four(start)) for start in self._starts]
            for start, call in zip(self._starts, calls, strict=True):
                answer = call.answer()
                if y(answer) != [version(answer) * value for value in rows(start)]:
                    self.wrong.append(answer)


def direct_in_real_time(model: Model, scheduler: SharedBatchScheduler) -> DirectPredictor:
    return DirectPredictor(model, InlineExecutor(), scheduler.clock)


def batched_in_real_time(model: Model, scheduler: SharedBatchScheduler) -> BatchedPredictor:
    return BatchedPredictor(model, scheduler, BatchingOptions(max_batch_size=16))


@pytest.mark.parametrize("place", [direct_in_real_time, batched_in_real_time])
def test_every_answer_is_of_the_version_that_it_says_while_versions_come_and_go(
    place: Callable[[Model, SharedBatchScheduler], Any],
) -> None:
    with SharedBatchScheduler(2) as scheduler:
        server = Server(lambda model: place(model, scheduler))
        rpc = RpcServer(server.transport, [server.service])
        server.load(1, Model(1))
        rpc.start()
        clients = [Client(server, start) for start in (14, 114, 214)]
        latest = []

        for number in range(2, 20):
            server.load(number, Model(number))
            latest.append(version(server.transport.call(PREDICT, four(1).SerializeToString())))
            server.unload(number - 1)
        for client in clients:
            client.stop()
        rpc.stop(10)

    assert latest == list(range(2, 20))
    assert [client.wrong for client in clients] == [[], [], []]
