"""Manager: what requests see of a manager. Edges depend on this, not on a particular manager."""

from collections.abc import Mapping
from typing import Any, Protocol

from modelserver.core.handle import ServableHandle
from modelserver.core.servable import ServableId, ServableRequest


class Manager(Protocol):
    """Hands out handles on loaded versions. Thread-safe; no call waits for a load, an unload or
    another request.
    """

    def list_available_servable_ids(self) -> list[ServableId]:
        """Every version that handles can be had of, sorted."""

    def get_servable_handle(self, request: ServableRequest) -> ServableHandle[Any]:
        """Claim the version that `request` means.

        Raises:
            NotFoundError: `Servable not found for request: Latest(NAME)`, nothing available fits.
            InvalidArgumentError: `Unrecognized servable version label: L`.

        """

    def get_available_servable_handles(self) -> Mapping[ServableId, ServableHandle[Any]]:
        """Claim every available version at once. The caller releases each handle."""
