"""Platforms by name: each is an entry point in the group `modelserver.platforms` of an installed
distribution.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from modelserver.errors import FailedPreconditionError, InvalidArgumentError, ServingError
from modelserver.inference import Platform

GROUP = "modelserver.platforms"

_METHODS = ("missing_files", "must_settle", "make_loader")


def make_platforms(names: Iterable[str], options: Mapping[str, object]) -> dict[str, Platform]:
    """Make each named platform once, with `options`.

    Raises:
        InvalidArgumentError: no installed distribution has a platform of that name, or two have;
            says which there are.
        FailedPreconditionError: it cannot be imported or made.

    """
    return {name: _make(name, options) for name in set(names)}


def _make(name: str, options: Mapping[str, object]) -> Platform:
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        known = ", ".join(sorted({point.name for point in entry_points(group=GROUP)}))
        raise InvalidArgumentError(f"No platform is called {name!r}. Installed are: {known}")
    if len(found) > 1:
        homes = ", ".join(sorted(point.value for point in found))
        raise InvalidArgumentError(
            f"Several platforms are called {name!r}: {homes}. Uninstall all but one"
        )
    return _load(found[0], options)


def _load(point: EntryPoint, options: Mapping[str, object]) -> Platform:
    try:
        platform: Platform = point.load()(options)
    except ServingError:
        raise
    except Exception as error:  # whatever a plug-in's import raises
        message = f"Platform {point.name!r} ({point.value}) cannot be used: {error!r}"
        raise FailedPreconditionError(message) from error
    for method in _METHODS:
        if not callable(getattr(platform, method, None)):
            message = f"Platform {point.name!r} ({point.value}) has no {method}; see Platform"
            raise FailedPreconditionError(message)
    return platform
