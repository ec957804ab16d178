"""mnist_client: its arithmetic, its bound on concurrency, and calls to a real gRPC server."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from mnist import client
from mnist.client import Tally, do_inference, round_and_round
from mnist.data import LabelledImages, read_data_sets
from mnist.mnist_pb2 import MnistRequest, MnistResponse
from mnist.services import CLASSIFY, PREDICT, Classify
from modelserver.errors import UnavailableError
from modelserver.rpc import messages
from modelserver.rpc.tensors import decode

Handler = Callable[[MnistRequest, grpc.ServicerContext], MnistResponse]
Serve = Callable[[Handler], str]


def scores_for(digit: int) -> np.ndarray:
    return np.eye(10, dtype=np.float32)[digit]


def ignore_answer() -> None:
    """What tests that do not look at the dots give as `on_answer`."""


def examples(labels: list[int]) -> list[tuple[np.ndarray, int]]:
    """Images whose first pixel is their index."""
    return [(np.full(784, index, np.float32), label) for index, label in enumerate(labels)]


def infer(
    classify: Classify,
    labels: list[int],
    concurrency: int = 1,
    dots: list[str] | None = None,
) -> Tally:
    on_answer = ignore_answer if dots is None else lambda: dots.append(".")
    return asyncio.run(do_inference(classify, examples(labels), concurrency, on_answer))


def test_the_error_rate_is_the_share_of_answers_that_name_another_digit() -> None:
    async def always_three(image: np.ndarray) -> np.ndarray:
        return scores_for(3)

    tally = infer(always_three, [3, 4, 3, 3, 5, 3, 3, 3])

    assert (tally.answered, tally.wrong, tally.failed) == (8, 2, 0)
    assert tally.error_rate == 0.25


def test_failed_calls_are_counted_apart_from_errors_and_the_first_is_kept() -> None:
    dots: list[str] = []

    async def fail_on_odd_images(image: np.ndarray) -> np.ndarray:
        if int(image[0]) % 2:
            raise UnavailableError(f"image {int(image[0])}")
        return scores_for(3)

    tally = infer(fail_on_odd_images, [3, 3, 4, 4], dots=dots)

    assert tally == Tally(answered=2, wrong=1, failed=2, first_failure="image 1")
    assert tally.error_rate == 0.5
    assert dots == [".", "."]


def test_without_an_answer_there_is_no_error_rate() -> None:
    assert Tally().error_rate is None


@pytest.mark.parametrize("concurrency", [1, 3, 10])
def test_exactly_concurrency_calls_are_in_flight_while_there_is_work(concurrency: int) -> None:
    in_flight: list[int] = []
    active = 0

    async def classify(image: np.ndarray) -> np.ndarray:
        nonlocal active
        active += 1
        in_flight.append(active)
        await asyncio.sleep(0)
        active -= 1
        return scores_for(0)

    tally = infer(classify, [0] * 50, concurrency)

    assert tally.answered == 50
    assert max(in_flight) == concurrency


def test_each_example_is_sent_once_however_many_calls_run() -> None:
    seen: list[int] = []

    async def classify(image: np.ndarray) -> np.ndarray:
        await asyncio.sleep(0)
        seen.append(int(image[0]))
        return scores_for(0)

    infer(classify, [0] * 40, concurrency=7)

    assert sorted(seen) == list(range(40))


def test_the_test_images_repeat_from_the_start() -> None:
    data = LabelledImages(np.eye(3, 784, dtype=np.float32), np.array([5, 6, 7]))

    labels = [label for _, label in itertools.islice(round_and_round(data), 7)]

    assert labels == [5, 6, 7, 5, 6, 7, 5]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a gRPC server around a handler of Classify, or of another method, and returns its
    address.
    """
    servers: list[grpc.Server] = []

    def start(handler: Handler, method: str = CLASSIFY, request: type = MnistRequest) -> str:
        server = grpc.server(ThreadPoolExecutor(20))
        _, service_name, method_name = method.split("/")
        method_handler = grpc.unary_unary_rpc_method_handler(
            handler, request.FromString, lambda response: response.SerializeToString()
        )
        service = grpc.method_handlers_generic_handler(service_name, {method_name: method_handler})
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(grace=None).wait()


def test_the_command_prints_a_dot_for_each_answer_and_the_error_rate(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    address = serve(lambda request, context: MnistResponse(value=scores_for(0)))
    zeros = int(np.sum(read_data_sets(None).test.labels == 0))

    status = client.main([f"--server={address}", "--num_tests=1000", "--concurrency=10"])

    assert status == 0
    source, dots, rate, calls = capsys.readouterr().out.splitlines()
    assert source.startswith("scikit-learn's digits")
    assert dots == "." * 1000
    assert rate == f"Inference error rate: {100 * (500 - zeros) / 500:.1f}%"
    assert calls == "1000 calls answered, 0 failed"


def test_with_a_model_name_a_model_server_is_asked_to_predict(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    received: list[messages.PredictRequest] = []

    def predict(
        request: messages.PredictRequest, context: grpc.ServicerContext
    ) -> messages.PredictResponse:
        received.append(request)
        response = messages.PredictResponse()
        response.outputs["scores"].float_val.extend(scores_for(0))
        return response

    address = serve(predict, PREDICT, messages.PredictRequest)

    status = client.main([f"--server={address}", "--model_name=digits", "--num_tests=2"])

    assert status == 0
    assert [request.model_spec.name for request in received] == ["digits", "digits"]
    np.testing.assert_array_equal(
        [decode(request.inputs["images"], "images")[0] for request in received],
        read_data_sets(None).test.images[:2],
    )
    assert "2 calls answered, 0 failed" in capsys.readouterr().out


def test_for_seconds_goes_on_past_the_number_of_tests(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    address = serve(lambda request, context: MnistResponse(value=scores_for(0)))

    client.main([f"--server={address}", "--num_tests=1", "--for_seconds=1"])

    answered = int(capsys.readouterr().out.splitlines()[-1].split()[0])
    assert answered > 1


def test_the_server_gets_the_pixels_of_the_test_images(serve: Serve) -> None:
    received: list[list[float]] = []

    def record(request: MnistRequest, context: grpc.ServicerContext) -> MnistResponse:
        received.append(list(request.image_data))
        return MnistResponse(value=scores_for(0))

    client.main([f"--server={serve(record)}", "--num_tests=3"])

    np.testing.assert_array_equal(received, read_data_sets(None).test.images[:3])


def test_concurrency_reaches_the_server_and_stays_bounded(serve: Serve) -> None:
    together = threading.Barrier(4, timeout=30)
    lock = threading.Lock()
    active, peak = 0, 0

    def wait_for_the_others(request: MnistRequest, context: grpc.ServicerContext) -> MnistResponse:
        nonlocal active, peak
        with lock:
            active += 1
            peak = max(peak, active)
        together.wait()
        with lock:
            active -= 1
        return MnistResponse(value=scores_for(0))

    status = client.main(
        [f"--server={serve(wait_for_the_others)}", "--num_tests=12", "--concurrency=4"]
    )

    assert status == 0
    assert peak == 4


def test_a_failed_call_gives_status_1_and_says_how_many_failed_and_how(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = itertools.count()

    def fail_twice(request: MnistRequest, context: grpc.ServicerContext) -> MnistResponse:
        if next(calls) < 2:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        return MnistResponse(value=scores_for(0))

    status = client.main([f"--server={serve(fail_twice)}", "--num_tests=10"])

    assert status == 1
    out, error = capsys.readouterr()
    assert "........\n" in out
    assert "Inference error rate: " in out
    assert error == (
        "mnist_client: error: 2 of 10 calls failed; "
        "the first: RESOURCE_EXHAUSTED: the queue is full\n"
    )


def test_an_answer_without_ten_scores_is_a_failed_call(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    address = serve(lambda request, context: MnistResponse(value=[1, 2, 3]))

    status = client.main([f"--server={address}", "--num_tests=1"])

    assert status == 1
    out, error = capsys.readouterr()
    assert "Inference error rate" not in out
    assert "1 of 1 calls failed; the first: the answer has 3 scores, not 10" in error


def test_a_server_that_does_not_answer_is_named_after_the_wait(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = client.main(["--server=127.0.0.1:1", "--wait_seconds=1"])

    assert status == 1
    assert "no server answers at 127.0.0.1:1 (waited 1 s)" in capsys.readouterr().err
