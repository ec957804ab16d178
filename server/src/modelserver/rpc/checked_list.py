"""CheckedCall, a Predict call that has been parsed and checked, and CheckedList, several of them
that may share a run.
"""

import logging
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from modelserver.core.handle import ServableHandle
from modelserver.errors import ServingError
from modelserver.inference.predictor import AsyncPredictor, Completion, Prediction
from modelserver.inference.request_list import RequestForm
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
        """The same for calls to one version that are of one form."""
        asked = self.prediction
        shapes = [(alias, array.dtype, array.shape) for alias, array in asked.inputs.items()]
        names = tuple(asked.output_names)
        version = self.handle.id, id(self.handle.servable)
        return version, asked.signature.name, tuple(shapes), names

    def submit(self, done: Completion) -> None:
        """Queue the prediction; `done` may be called before this returns."""
        self._withdraw = self.handle.servable.submit(self.prediction, done)

    def cancel(self) -> None:
        """Withdraw the prediction if it still waits; `done` is called then."""
        if self._withdraw is not None:
            self._withdraw()


class CheckedList:
    """A `RequestList` of `calls`, which are of one `form`; at least one when it is used."""

    __slots__ = ("_answers", "_replies", "calls", "form")

    def __init__(self, form: RequestForm, answers: Answers, replies: Replies) -> None:
        self.form = form
        self.calls: list[CheckedCall] = []
        self._answers = answers
        self._replies = replies

    @property
    def predictor(self) -> AsyncPredictor:
        """What is to compute the answers."""
        return self.calls[0].handle.servable

    def give_up(self, error: ServingError) -> None:
        """Answer with `error` whoever has no answer yet, and give all handles back."""
        ids = [call.id for call in self.calls]
        self._replies.send_many(ids, [error_answer(error)] * len(ids))
        for call in self.calls:
            call.handle.release()

    def __len__(self) -> int:
        return len(self.calls)

    def wanted(self, which: Sequence[int]) -> Sequence[int]:
        """Those that are alive, as `RequestList.wanted`."""
        alive = self._replies.alive([self.calls[place].id for place in which])
        for place, is_alive in zip(which, alive, strict=True):
            if not is_alive:
                self.calls[place].handle.release()
        return [place for place, is_alive in zip(which, alive, strict=True) if is_alive]

    def write(self, which: Sequence[int], out: Sequence[np.ndarray]) -> None:
        """Copy the arrays, as `RequestList.write`."""
        for given, array in zip(self.form.inputs, out, strict=True):
            own = [self.calls[place].prediction.inputs[given.alias] for place in which]
            np.concatenate(own, out=array)

    def answer(self, which: Sequence[int], result: dict[str, np.ndarray] | ServingError) -> None:
        """Answer calls, as `RequestList.answer`."""
        calls = [self.calls[place] for place in which]
        try:
            self._answers.answer([call.id for call in calls], result, self._replies)
        except Exception:
            _logger.exception("Answering %d calls failed", len(calls))
        finally:
            for call in calls:
                call.handle.release()
