"""The platform `numpy` of `modelserver_numpy`, in a modelserver that recognises no request by its
bytes: each is parsed and queued by itself. The benchmark gives it the entry point instead of the
other one.
"""

from collections.abc import Sequence

from modelserver_numpy import platform

from modelserver.rpc import prediction
from modelserver.rpc.messages import PredictRequest
from modelserver.rpc.predict_template import PredictTemplate, PredictTemplates

__all__ = ["platform"]


class NoTemplates(PredictTemplates):
    """`PredictTemplates` that never have one, and take no time to say so."""

    def sort(self, bodies: Sequence[bytes]) -> tuple[dict[PredictTemplate, list[int]], list[int]]:
        """None is known."""
        return {}, list(range(len(bodies)))

    def find(self, request: PredictRequest) -> None:
        """There is none."""

    def wants(self, body: bytes) -> bool:
        """None is made."""
        return False


prediction.PredictTemplates = NoTemplates  # type: ignore[misc]
