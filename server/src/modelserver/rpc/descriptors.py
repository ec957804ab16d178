"""The committed descriptors of TensorFlow Serving's messages, in a pool of their own.

tensorflow-serving-api's modules import TensorFlow, so the server does not use them. A private pool
holds messages of the same names beside theirs, and TensorFlow's, in one process.
`server/proto/generate_descriptors.py` writes the file.
"""

from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool


def descriptor_set() -> bytes:
    """The serialized FileDescriptorSet, every file after those that it imports.

    It is what a transport's server reflection tells clients.
    """
    return files("modelserver.rpc").joinpath("descriptors.binpb").read_bytes()


def make_pool(serialized_set: bytes) -> DescriptorPool:
    """Build a pool of the files in a serialized FileDescriptorSet and of nothing else."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(serialized_set).file:
        pool.Add(file)
    return pool
