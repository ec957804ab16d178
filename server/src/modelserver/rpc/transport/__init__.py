"""Bytes in, bytes out: `base` is the seam, `grpc_aio` the implementation on grpcio."""
