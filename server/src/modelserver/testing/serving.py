"""serve_in_memory: a whole server around your model, without a port or a file."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from modelserver.clock import SystemClock
from modelserver.core.aspired_versions_manager import AspiredVersionsManager
from modelserver.core.servable import ServableData, ServableId, ServableRequest
from modelserver.errors import ServingError
from modelserver.inference.direct import DirectPredictor
from modelserver.inference.predictor import Predictor, Tensors
from modelserver.rpc.messages import ModelSpec, PredictRequest, PredictResponse
from modelserver.rpc.model import ModelService
from modelserver.rpc.prediction import SERVICE_NAME, PredictionService
from modelserver.rpc.server import RpcServer
from modelserver.rpc.service import Service, method_names
from modelserver.rpc.status import status_code
from modelserver.rpc.tensors import decode, encode
from modelserver.testing.loader import FakeLoader
from modelserver.testing.transport import MemoryTransport


@dataclass(frozen=True, slots=True)
class MemoryClient:
    """A client of a server in memory. `transport` makes any other call. Thread-safe."""

    transport: MemoryTransport

    def predict(self, name: str, inputs: Tensors, signature: str = "") -> dict[str, np.ndarray]:
        """Call the latest version of a model. Raises the `ServingError` of a failed call's code."""
        spec = ModelSpec(name=name, signature_name=signature)
        tensors = {alias: encode(array) for alias, array in inputs.items()}
        request = PredictRequest(model_spec=spec, inputs=tensors)
        answer = self.transport.call(f"/{SERVICE_NAME}/Predict", request.SerializeToString())
        if not isinstance(answer, bytes):
            code, message = answer
            kinds = (k for k in ServingError.__subclasses__() if status_code(k("")) is code)
            raise next(kinds, ServingError)(message)
        response = PredictResponse.FromString(answer)
        return {alias: decode(proto, alias) for alias, proto in response.outputs.items()}


@contextmanager
def serve_in_memory(
    models: Mapping[str, Predictor] | AspiredVersionsManager,
) -> Iterator[MemoryClient]:
    """Serve `models`, each as version 1 of its name, or what a manager of yours serves.

        with serve_in_memory({"words": MyPredictor()}) as client:
            assert client.predict("words", {"key": np.array([b"a"], object)})["id"] == [0]

    Useful for testing a `Predictor` as clients meet it: requests are bytes, checked against its
    signatures, and run on other threads; only the transport, batching and loading are not a real
    server's. The servables of a manager of yours must be `AsyncPredictor`s; stop it yourself.
    """
    with ExitStack() as stack:
        manager = models if isinstance(models, AspiredVersionsManager) else _manage(models, stack)
        services: list[Service] = [PredictionService(manager), ModelService(manager.monitor)]
        transport = MemoryTransport(method_names(services))
        server = RpcServer(transport, services)
        server.start()
        stack.callback(server.stop, 0)
        yield MemoryClient(transport)


def _manage(models: Mapping[str, Predictor], stack: ExitStack) -> AspiredVersionsManager:
    executor = stack.enter_context(ThreadPoolExecutor(thread_name_prefix="predict"))
    manager = stack.enter_context(AspiredVersionsManager())
    for name, predictor in models.items():
        loader = FakeLoader(DirectPredictor(predictor, executor, SystemClock()))
        manager.set_aspired_versions(name, [ServableData(ServableId(name, 1), loader)])
    manager.monitor.wait_until_reached([ServableRequest.latest(name) for name in models])
    return manager
