"""mnist_inference_2: serve the newest version of the MNIST model, many calls in one run.

The tutorial's server on the library API: a manager keeps the newest version loaded, a batch
scheduler merges the calls that arrive at about the same time, a transport receives and answers.
"""

import logging
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from mnist.command_line import CommandLine, run, whole_number
from mnist.data import NUM_PIXELS
from mnist.mnist_pb2 import MnistRequest, MnistResponse
from modelserver.batching import BasicBatchScheduler, BatchSchedulerOptions, BatchTask
from modelserver.core.manager import Manager
from modelserver.core.servable import ServableRequest
from modelserver.errors import InvalidArgumentError, NotFoundError, ServingError
from modelserver.rpc.status import status_of
from modelserver.rpc.transport.base import Transport
from modelserver.rpc.transport.grpc_aio import GrpcAioTransport
from modelserver.simple_servers import create_single_tf_model_manager_from_base_path

PROG = "mnist_inference_2"
CLASSIFY = "/tensorflow.serving.MnistService/Classify"
_SERVABLE_NAME = "default"
_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_GRACE_SECONDS = 10.0
_log = logging.getLogger("mnist")
