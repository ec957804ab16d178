"""Loader: the life cycle of one servable version, as the manager drives it."""

from typing import Protocol


class Loader(Protocol):
    """Owns one version of a servable: makes it on `load`, hands it out, frees it on `unload`.
    Plug-ins implement it.

    The manager calls the methods on executor threads, never two at once for one Loader. Loads that
    returned and unloads alternate: each such load is followed by one `unload`, when the last handle
    has been released, before the next `load` if there is one (the version was aspired again, with
    the same Loader). `load` may be called again after it raised. A Loader that never loaded is
    dropped without a call, so construction must be cheap: no I/O before `load`.
    """

    def load(self) -> None:
        """Make the servable ready for use. May take minutes.

        Raise any exception to fail; `modelserver.errors` says how it will read in the version's
        state. Whatever was allocated before raising must be freed by then.
        """

    def unload(self) -> None:
        """Free everything that `load` made. Exceptions are logged; the version counts as gone."""

    def servable(self) -> object:
        """Return the loaded servable: any object; requests that take a handle on it call it from
        many threads at once.
        """
