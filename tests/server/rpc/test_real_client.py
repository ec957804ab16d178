"""TensorFlow Serving's own client against the server, in one process with TensorFlow."""

import importlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from modelserver.clock import SystemClock
from modelserver.core.basic_manager import BasicManager
from modelserver.core.monitor import ServableStateMonitor
from modelserver.core.servable import ServableData, ServableId
from modelserver.inference.direct import DirectPredictor
from modelserver.rpc.descriptors import descriptor_set
from modelserver.rpc.messages import PredictRequest as OurPredictRequest
from modelserver.rpc.model import ModelService
from modelserver.rpc.prediction import PredictionService
from modelserver.rpc.server import RpcServer
from modelserver.rpc.service import method_names
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport, GrpcOptions
from modelserver.testing.executor import InlineExecutor
from modelserver.testing.loader import FakeLoader
from modelserver.testing.predictor import FakePredictor

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def api() -> SimpleNamespace:
    """TensorFlow and the client's generated modules: imported here, so that a run without these
    tests does not wait for them.
    """
    names = [
        *("predict_pb2", "get_model_metadata_pb2", "get_model_status_pb2"),
        *("prediction_service_pb2_grpc", "model_service_pb2_grpc"),
    ]
    modules = {name: importlib.import_module(f"tensorflow_serving.apis.{name}") for name in names}
    return SimpleNamespace(tf=importlib.import_module("tensorflow"), **modules)


@pytest.fixture
def channel() -> Iterator[grpc.Channel]:
    monitor = ServableStateMonitor()
    manager = BasicManager(
        publish=monitor.publish, load_executor=InlineExecutor(), unload_executor=InlineExecutor()
    )
    services = [PredictionService(manager), ModelService(monitor)]
    options = GrpcOptions(descriptor_set=descriptor_set())
    transport = GrpcAioTransport("127.0.0.1:0", method_names(services), options)
    server = RpcServer(transport, services)
    with ThreadPoolExecutor(2) as runs:
        predictor = DirectPredictor(FakePredictor(), runs, SystemClock())
        manager.manage([ServableData(ServableId("half_plus_two", 123), FakeLoader(predictor))])
        manager.load(manager.harnesses("half_plus_two")[123])
        manager.apply_events()
        with grpc.insecure_channel(f"127.0.0.1:{server.start()}") as channel:
            yield channel
        server.stop(0)


def predict_request(api: SimpleNamespace, name: str = "half_plus_two") -> Message:
    request = api.predict_pb2.PredictRequest()
    request.model_spec.name = name
    tensor = api.tf.make_tensor_proto([1.0, 2.0, 5.0], dtype=api.tf.float32)
    request.inputs["x"].CopyFrom(tensor)
    return request


def test_predict(api: SimpleNamespace, channel: grpc.Channel) -> None:
    stub = api.prediction_service_pb2_grpc.PredictionServiceStub(channel)

    response = stub.Predict(predict_request(api), timeout=30)

    np.testing.assert_array_equal(api.tf.make_ndarray(response.outputs["y"]), [2.5, 3.0, 4.5])
    assert response.model_spec.version.value == 123


def test_predict_on_an_unknown_model(api: SimpleNamespace, channel: grpc.Channel) -> None:
    stub = api.prediction_service_pb2_grpc.PredictionServiceStub(channel)

    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(predict_request(api, "other"), timeout=30)

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "Servable not found for request: Latest(other)"


def test_get_model_metadata(api: SimpleNamespace, channel: grpc.Channel) -> None:
    stub = api.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = api.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "half_plus_two"

    response = stub.GetModelMetadata(request, timeout=30)

    signatures = api.get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["serving_default"].inputs["x"].dtype == api.tf.float32


def test_get_model_status(api: SimpleNamespace, channel: grpc.Channel) -> None:
    stub = api.model_service_pb2_grpc.ModelServiceStub(channel)
    request = api.get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "half_plus_two"

    response = stub.GetModelStatus(request, timeout=30)

    (status,) = response.model_version_status
    assert status.version == 123
    assert status.state == api.get_model_status_pb2.ModelVersionStatus.AVAILABLE


def test_our_messages_and_the_client_s_are_two_classes_with_the_same_bytes(
    api: SimpleNamespace,
) -> None:
    theirs = predict_request(api)
    sent = theirs.SerializeToString(deterministic=True)

    ours = OurPredictRequest.FromString(sent)

    assert not isinstance(ours, api.predict_pb2.PredictRequest)
    assert ours.SerializeToString(deterministic=True) == sent
