"""What should exist for one ModelServer, as manifests. Pure: values come in, values go out; nothing
here knows a client, a clock or an event loop.
"""

from modelserver_operator.desired.children import Desired, Refusal, desired
from modelserver_operator.desired.defaults import Defaults

__all__ = ["Defaults", "Desired", "Refusal", "desired"]
