"""The gRPC edge: TensorFlow Serving's services over raw bytes, and the transports that carry them.

`RpcServer` feeds `Service`s (`PredictionService`, `ModelService`, or one of your own) from a
`Transport`. Messages become numpy arrays and `modelserver.errors` become status codes here and
nowhere else. Only `rpc.transport` knows grpc; nothing here runs a model or decides about versions.
"""
