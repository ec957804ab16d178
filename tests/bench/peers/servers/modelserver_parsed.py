"""The platform `numpy` of `modelserver_numpy`, in a modelserver that knows no request by its bytes:
each is parsed. The benchmark gives it the entry point instead of the other one.
"""

from collections.abc import Sequence

from modelserver_numpy import platform

from modelserver.rpc import prediction
from modelserver.rpc.predict_template import PredictTemplate, PredictTemplates

__all__ = ["platform"]


class ParsedOnly(PredictTemplates):
    """`PredictTemplates` that know a request only when it has been parsed."""

    def sort(self, bodies: Sequence[bytes]) -> tuple[dict[PredictTemplate, list[int]], list[int]]:
        """None is known."""
        return {}, list(range(len(bodies)))


# modelserver has no such setting, and needs none. Platforms are made before services are.
prediction.PredictTemplates = ParsedOnly  # type: ignore[misc]
