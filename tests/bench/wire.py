"""How requests and answers look on the wire: TensorFlow Serving's Predict, the tutorial's Classify,
the Open Inference Protocol, JSON.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from mnist.mnist_pb2 import MnistRequest, MnistResponse
from model_store import Model
from modelserver.rpc.messages import ModelSpec, PredictRequest, PredictResponse, TensorProto
from modelserver.rpc.tensors import decode, encode

PREDICT = "/tensorflow.serving.PredictionService/Predict"
_OPEN_INFERENCE = Path(__file__).parent / "peers" / "open_inference.proto"


_VERSION = "/versions/"


def of_version(name: str, number: int) -> str:
    """What `PredictWire` takes for a version of a model instead of the model's name."""
    return f"{name}{_VERSION}{number}"


class Wire(Protocol):
    """A protocol: where a model is called, and the bytes both ways."""

    @property
    def is_grpc(self) -> bool:
        """Whether it is gRPC; otherwise it is HTTP/1.1."""

    def path(self, name: str) -> str:
        """The method's full name, or the URL's path, of the model `name`."""

    def request(self, name: str, model: Model, rows: np.ndarray) -> bytes:
        """The body of a call of `model`, which is served as `name`."""

    def answer(self, model: Model, body: bytes) -> np.ndarray:
        """The numbers in an answer's body."""

    def expected(self, model: Model, rows: np.ndarray, results: np.ndarray) -> np.ndarray:
        """What those should be, for `rows` of which the model makes `results`."""


@dataclass(frozen=True, slots=True)
class PredictWire:
    """gRPC Predict, as TensorFlow Serving defines it, with the values as tensor_content."""

    is_grpc: bool = True

    def path(self, name: str) -> str:
        """One method for all models."""
        return PREDICT

    def request(self, name: str, model: Model, rows: np.ndarray) -> bytes:
        """A PredictRequest for all outputs of the latest version, or `of_version`."""
        name, _, version = name.partition(_VERSION)
        spec = ModelSpec(name=name)
        if version:
            spec.version.value = int(version)
        message = PredictRequest(model_spec=spec, inputs={model.input: _content(rows)})
        return message.SerializeToString()

    def answer(self, model: Model, body: bytes) -> np.ndarray:
        """The output of a PredictResponse."""
        return decode(PredictResponse.FromString(body).outputs[model.output], model.output)

    def expected(self, model: Model, rows: np.ndarray, results: np.ndarray) -> np.ndarray:
        """What the model makes."""
        return results


@dataclass(frozen=True, slots=True)
class EchoWire(PredictWire):
    """Predict at a server that sends the request back: no model, no parsing."""

    def answer(self, model: Model, body: bytes) -> np.ndarray:
        """The request's own values."""
        return decode(PredictRequest.FromString(body).inputs[model.input], model.input)

    def expected(self, model: Model, rows: np.ndarray, results: np.ndarray) -> np.ndarray:
        """What was sent."""
        return rows


@dataclass(frozen=True, slots=True)
class ConstantWire(PredictWire):
    """Predict at a server that answers everything with the same bytes."""

    def constant(self, model: Model, rows: int) -> bytes:
        """Those bytes: the answer to a request of `rows` rows that begin with the first sample."""
        outputs = {model.output: _content(_first(model, rows))}
        spec = ModelSpec(name=model.name)
        spec.version.value = 1
        return PredictResponse(model_spec=spec, outputs=outputs).SerializeToString()

    def expected(self, model: Model, rows: np.ndarray, results: np.ndarray) -> np.ndarray:
        """The same, whatever is sent."""
        return _first(model, len(rows))


@dataclass(frozen=True, slots=True)
class ClassifyWire:
    """gRPC Classify, as the tutorial's server has it: one image in, the scores of ten digits out.
    `rows` must be one row: a request has no more.
    """

    is_grpc: bool = True

    def path(self, name: str) -> str:
        """The service's one method: it serves one model, which has no name."""
        return "/tensorflow.serving.MnistService/Classify"

    def request(self, name: str, model: Model, rows: np.ndarray) -> bytes:
        """A MnistRequest."""
        (image,) = rows
        return MnistRequest(image_data=image).SerializeToString()

    def answer(self, model: Model, body: bytes) -> np.ndarray:
        """The scores of a MnistResponse, as a row."""
        return np.asarray([MnistResponse.FromString(body).value], np.float32)

    def expected(self, model: Model, rows: np.ndarray, results: np.ndarray) -> np.ndarray:
        """What the model makes."""
        return results


@dataclass(frozen=True, slots=True)
class InferWire:
    """gRPC ModelInfer of the Open Inference Protocol, with the values as raw contents."""

    is_grpc: bool = True

    def path(self, name: str) -> str:
        """One method for all models."""
        return "/inference.GRPCInferenceService/ModelInfer"

    def request(self, name: str, model: Model, rows: np.ndarray) -> bytes:
        """A ModelInferRequest. It has an id: some servers invent one otherwise, at a cost."""
        message = _open_inference("ModelInferRequest")(
            model_name=name,
            id="1",
            inputs=[{"name": model.input, "datatype": "FP32", "shape": rows.shape}],
            raw_input_contents=[rows.tobytes()],
        )
        body: bytes = message.SerializeToString()
        return body

    def answer(self, model: Model, body: bytes) -> np.ndarray:
        """The one output of a ModelInferResponse, raw or as a list."""
        message = _open_inference("ModelInferResponse").FromString(body)
        output = message.outputs[0]
        if message.raw_output_contents:
            values = np.frombuffer(message.raw_output_contents[0], np.float32)
        else:
            values = np.asarray(output.contents.fp32_contents, np.float32)
        return values.reshape(output.shape)

    def expected(self, model: Model, rows: np.ndarray, results: np.ndarray) -> np.ndarray:
        """What the model makes."""
        return results


@dataclass(frozen=True, slots=True)
class JsonWire:
    """HTTP with JSON both ways: {"x": [[…], …]} there, {"y": [[…], …]} back."""

    is_list: bool = False
    """Whether the answer is the bare list."""

    is_grpc: bool = False

    def path(self, name: str) -> str:
        """The one path that these servers have."""
        return "/predict"

    def request(self, name: str, model: Model, rows: np.ndarray) -> bytes:
        """Numbers with as many digits as float32 needs."""
        values = [[float(str(value)) for value in row] for row in rows]
        return json.dumps({model.input: values}).encode()

    def answer(self, model: Model, body: bytes) -> np.ndarray:
        """The list, which stands under the output's name as a rule."""
        content = json.loads(body)
        return np.asarray(content if self.is_list else content[model.output], np.float32)

    def expected(self, model: Model, rows: np.ndarray, results: np.ndarray) -> np.ndarray:
        """What the model makes."""
        return results


def _first(model: Model, rows: int) -> np.ndarray:
    """The answers to that many rows, the samples in turn."""
    answers = model.samples[1]
    return answers[np.arange(rows) % len(answers)]


def _content(rows: np.ndarray) -> TensorProto:
    """As tensor_content, which clients that care for speed send."""
    proto = encode(rows)
    filled = TensorProto(dtype=proto.dtype, tensor_content=rows.tobytes())
    filled.tensor_shape.CopyFrom(proto.tensor_shape)
    return filled


@cache
def _open_inference(message: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "descriptors"
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc", f"-I{_OPEN_INFERENCE.parent}"),
                *(f"--descriptor_set_out={file}", str(_OPEN_INFERENCE)),
            ],
            check=True,
        )
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for descriptor in descriptors.file:
        pool.Add(descriptor)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{message}"))
