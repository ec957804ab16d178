"""How the tutorial's messages look in memory: a header, and the values as they are in an array."""

import numpy as np
from google.protobuf.message import DecodeError, Message

from mnist.data import NUM_LABELS, NUM_PIXELS
from mnist.mnist_pb2 import MnistRequest, MnistResponse
from modelserver.errors import InvalidArgumentError

_NO_PIXELS = np.zeros(NUM_PIXELS, np.float32)
_NO_SCORES = np.zeros(NUM_LABELS, np.float32)


def _header(message: Message, values: np.ndarray) -> bytes:
    return message.SerializeToString().removesuffix(values.tobytes())


REQUEST_HEADER = _header(MnistRequest(image_data=_NO_PIXELS), _NO_PIXELS)
"""What stands before the pixels of a request with an image: it says how many there are."""

RESPONSE_HEADER = _header(MnistResponse(value=_NO_SCORES), _NO_SCORES)
"""What stands before the scores of a response."""


def checked(body: bytes) -> bytes:
    """Return a MnistRequest's body with its pixels behind `REQUEST_HEADER`, as clients send it as a
    rule: then it need not be parsed. Raises `InvalidArgumentError` for all that is no image.
    """
    is_long_enough = len(body) == len(REQUEST_HEADER) + _NO_PIXELS.nbytes
    if is_long_enough and body.startswith(REQUEST_HEADER):
        return body
    try:
        request = MnistRequest.FromString(body)
    except DecodeError as error:
        raise InvalidArgumentError(f"expected a MnistRequest: {error}") from error
    size = len(request.image_data)
    if size != NUM_PIXELS:
        raise InvalidArgumentError(f"expected image_data of size {NUM_PIXELS}, got {size}")
    return MnistRequest(image_data=request.image_data).SerializeToString()
