"""AdjustablePredictor: an AsyncPredictor whose batching can be changed while it serves."""

import threading
from collections.abc import Callable, Mapping, Sequence

from modelserver.inference.batching_options import BatchingOptions
from modelserver.inference.loader import ClosableAsyncPredictor
from modelserver.inference.predictor import Completion, Prediction
from modelserver.inference.request_list import RequestList
from modelserver.inference.signature import Signature


class AdjustablePredictor:
    """Passes requests on to the predictor that `make` has made for the options in use. Thread-safe.

    `make` gets the options, None for no batching, and is called once for each that are ever used.
    A predictor that is not in use any more stays open until `close`: a request that was on its way
    to it when the options changed must not be refused, and one that is idle costs next to nothing.
    """

    def __init__(
        self,
        make: Callable[[BatchingOptions | None], ClosableAsyncPredictor],
        options: BatchingOptions | None,
    ) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._is_closed = False
        self._current = make(options)
        self._made = {options: self._current}

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Those of the predictor in use."""
        return self._current.signatures

    def use(self, options: BatchingOptions | None) -> None:
        """Batch the requests to come by `options`. Has no effect after `close`."""
        with self._lock:
            if self._is_closed:
                return
            if options not in self._made:
                self._made[options] = self._make(options)
            self._current = self._made[options]

    def submit(self, prediction: Prediction, done: Completion) -> Callable[[], bool]:
        """Queue the request, as `AsyncPredictor.submit`."""
        return self._current.submit(prediction, done)

    def submit_lists(
        self, lists: Sequence[RequestList], *, may_run: bool = True, may_queue: bool = True
    ) -> bool:
        """Run or queue them, as `AsyncPredictor.submit_lists`."""
        return self._current.submit_lists(lists, may_run=may_run, may_queue=may_queue)

    def close(self) -> None:
        """Refuse further requests, and return when nothing runs any more."""
        with self._lock:
            self._is_closed = True
        for predictor in self._made.values():
            predictor.close()
