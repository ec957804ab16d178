"""ServableHandle: keeps one version loaded for as long as it is held."""

import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from modelserver.core.servable import ServableId

ServableT = TypeVar("ServableT")


class ServableHandle(Generic[ServableT]):
    """A counted claim on a loaded version. Use it as a context manager, or call `release` once.

    Hold it for one request or one batch, no longer: an old version is unloaded when its last handle
    is released. Any thread may release it. `servable` must not be used afterwards.
    """

    __slots__ = ("_release", "id", "servable")

    def __init__(self, id: ServableId, servable: ServableT, release: Callable[[], None]) -> None:
        self.id = id
        """The version that was found: for a request by latest or label, the answer to which one."""
        self.servable = servable
        """The object that the version's `Loader.servable` returned."""
        self._release: Callable[[], None] | None = release

    def release(self) -> None:
        """Give the claim back. Further calls do nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> "ServableHandle[ServableT]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __del__(self) -> None:
        if getattr(self, "_release", None) is not None:
            # Only a warning: the garbage collector may run this inside any lock, so releasing here
            # could deadlock.
            warnings.warn(
                f"ServableHandle of {self.id} was never released",
                ResourceWarning,
                stacklevel=1,
                source=self,
            )

    def __repr__(self) -> str:
        return f"<ServableHandle {self.id}{'' if self._release else ' released'}>"
