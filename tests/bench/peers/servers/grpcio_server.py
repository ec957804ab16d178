"""gRPC's own Python servers, answering Predict with a numpy model, one request at a time.

Usage: grpcio_server.py {sync,aio,echo} PORT MODEL_FILE DESCRIPTORS. `sync` has a pool of 16
threads, `aio` an event loop; `echo` is `aio` that sends each request back unread.
"""

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import numpy_model
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE, METHOD = "tensorflow.serving.PredictionService", "Predict"
THREADS = 16


def predict_function(model_file, descriptors):
    """From a PredictRequest's bytes to a PredictResponse's."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(Path(descriptors).read_bytes()).file:
        pool.Add(file)
    request_type, response_type = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
        for name in ("PredictRequest", "PredictResponse")
    )
    model = numpy_model.load(model_file)

    def predict(body):
        request = request_type.FromString(body)
        tensor = request.inputs["x"]
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        values = model(np.frombuffer(tensor.tensor_content, np.float32).reshape(shape))
        response = response_type(model_spec=request.model_spec)
        output = response.outputs["y"]
        output.dtype = tensor.dtype
        for size in values.shape:
            output.tensor_shape.dim.add(size=size)
        output.tensor_content = values.tobytes()
        return response.SerializeToString()

    return predict


def serve_sync(port, predict):
    """Until SIGTERM."""
    server = grpc.server(ThreadPoolExecutor(THREADS))
    add(server, lambda request, context: predict(request))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    signal.sigwait({signal.SIGTERM})
    server.stop(0).wait()


async def serve_aio(port, predict):
    """Until SIGTERM."""

    async def handle(request, context):
        return predict(request)

    server = grpc.aio.server()
    add(server, handle)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


def add(server, handle):
    """Let `handle` answer Predict: bytes in, bytes out."""
    methods = {METHOD: grpc.unary_unary_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])


def main(mode, port, model_file, descriptors):
    """Serve on 127.0.0.1."""
    if mode == "echo":
        asyncio.run(serve_aio(port, lambda request: request))
    elif mode == "aio":
        asyncio.run(serve_aio(port, predict_function(model_file, descriptors)))
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        serve_sync(port, predict_function(model_file, descriptors))


if __name__ == "__main__":
    main(*sys.argv[1:])
