"""PredictList: Predict calls of one template that arrived together, from their bodies to their
answers.
"""

import logging
import threading
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from modelserver.core.handle import ServableHandle
from modelserver.errors import ServingError
from modelserver.inference.predictor import AsyncPredictor
from modelserver.rpc.predict_template import PredictTemplate
from modelserver.rpc.replies import Replies
from modelserver.rpc.service import MethodCalls
from modelserver.rpc.status import error_answer

_logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")


class PredictCalls(NamedTuple):
    """Calls that a template fits. The values of each input of its form are in one of `sources`, for
    each call, from that one's place in `offsets` on.
    """

    template: PredictTemplate
    calls: MethodCalls
    sources: Sequence[Sequence[bytes]]
    offsets: Sequence[int]


class PredictList:
    """A `RequestList` of `calls`. It holds `handle` until each call has its answer or wants none
    any more.
    """

    __slots__ = ("_handle", "_ids", "_lock", "_num_open", "calls", "form", "predictor", "replies")

    def __init__(
        self, calls: PredictCalls, handle: ServableHandle[AsyncPredictor], replies: Replies
    ) -> None:
        self.calls = calls
        self.replies = replies
        self.form = calls.template.form
        self.predictor = handle.servable
        """What is to compute the answers."""
        self._handle = handle
        self._ids = calls.calls.ids
        self._lock = threading.Lock()
        self._num_open = len(self._ids)

    def release(self) -> None:
        """Give the handle back: the calls are not going to be answered from here."""
        self._handle.release()

    def give_up(self, error: ServingError) -> None:
        """Answer with `error` whoever has no answer yet, and give the handle back."""
        self.replies.send_many(self._ids, [error_answer(error)] * len(self._ids))
        self._handle.release()

    def __len__(self) -> int:
        return len(self._ids)

    def wanted(self, which: Sequence[int]) -> Sequence[int]:
        """Those that are alive, as `RequestList.wanted`."""
        alive = self.replies.alive(_of(self._ids, which))
        if all(alive):
            return which
        kept = [place for place, is_alive in zip(which, alive, strict=True) if is_alive]
        self._close(len(which) - len(kept))
        return kept

    def write(self, which: Sequence[int], out: Sequence[np.ndarray]) -> None:
        """Copy the values out of the bodies, as `RequestList.write`."""
        _, _, sources, offsets = self.calls
        for number, given in enumerate(self.form.inputs):
            # Types that Python has no name for move as bytes.
            array = out[number].view(np.uint8) if given.dtype.kind == "V" else out[number]
            values = _of(sources[number], which)
            self.replies.gather(array, values, offsets[number], given.num_bytes)

    def answer(self, which: Sequence[int], result: dict[str, np.ndarray] | ServingError) -> None:
        """Answer calls, as `RequestList.answer`."""
        try:
            self.calls.template.answers.answer(_of(self._ids, which), result, self.replies)
        except Exception:
            _logger.exception("Answering %d calls failed", len(which))
        finally:
            self._close(len(which))

    def _close(self, count: int) -> None:
        with self._lock:
            self._num_open -= count
            is_last = self._num_open == 0
        if is_last:
            self._handle.release()


def _of(items: Sequence[ItemT], which: Sequence[int]) -> Sequence[ItemT]:
    return items if len(which) == len(items) else [items[place] for place in which]
