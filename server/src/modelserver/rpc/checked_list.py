"""CheckedCall, a Predict call that has been parsed and checked, and CheckedList, several of them
that may share a run.
"""

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Self

import numpy as np

from modelserver.core.handle import ServableHandle
from modelserver.errors import ServingError
from modelserver.inference.predictor import AsyncPredictor, Completion, Prediction
from modelserver.inference.request_list import InputForm, RequestForm
from modelserver.rpc.answers import Answers
from modelserver.rpc.replies import Replies
from modelserver.rpc.status import error_answer

_logger = logging.getLogger(__name__)


class CheckedCall:
    """One Predict call from its check to its answer. Whoever answers it gives `handle` back."""

    __slots__ = ("_withdraw", "handle", "id", "prediction")

    def __init__(
        self, id: int, handle: ServableHandle[AsyncPredictor], prediction: Prediction
    ) -> None:
        self.id = id
        self.handle = handle
        self.prediction = prediction
        self._withdraw: Callable[[], bool] | None = None

    def form_key(self) -> Hashable:
        """The same for calls that are of one form, to one predictor."""
        signature, inputs, output_names, _ = self._parts()
        shapes = [(alias, array.dtype, array.shape) for alias, array in inputs.items()]
        return id(self.handle.servable), signature.name, tuple(shapes), tuple(output_names)

    def form(self) -> RequestForm | None:
        """What those have in common; None where such calls cannot share a run."""
