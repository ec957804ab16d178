"""HeldLoader: a Loader that has its version's files here while it loads and is loaded."""

from collections.abc import Callable

from modelserver.core.loader import Loader
from modelserver.sources.storage.base import Release, nothing_to_release


class HeldLoader:
    """Wraps a platform's Loader: `hold` (`Storage.hold` of its version) before it loads, and let go
    once it is unloaded.
    """

    def __init__(self, loader: Loader, hold: Callable[[], Release]) -> None:
        self._loader = loader
        self._hold = hold
        self._release = nothing_to_release

    def load(self) -> None:
        """Have the files, then load the wrapped Loader."""
        release = self._hold()
        try:
            self._loader.load()
        except BaseException:
            release()
            raise
        self._release = release

    def unload(self) -> None:
        """Unload the wrapped Loader, then let the files go."""
        release, self._release = self._release, nothing_to_release
        try:
            self._loader.unload()
        finally:
            release()

    def servable(self) -> object:
        """Return the wrapped Loader's servable."""
        return self._loader.servable()
