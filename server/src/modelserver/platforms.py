"""Platforms by name: each is an entry point in the group `modelserver.platforms` of an installed
distribution.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points

from modelserver.errors import InvalidArgumentError
from modelserver.inference import Platform

GROUP = "modelserver.platforms"


def make_platforms(names: Iterable[str], options: Mapping[str, object]) -> dict[str, Platform]:
    """Make each named platform once, with `options`.

    Raises: InvalidArgumentError: no installed distribution has a platform of that name, or two
    have; says which there are.
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
    platform: Platform = found[0].load()(options)
    return platform
