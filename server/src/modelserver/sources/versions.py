"""Which numbers under a base path are versions, and which of them a policy aspires. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

# What absl::SimpleAtoi takes: ASCII white space around, one sign, decimal digits.
_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)[ \t\n\v\f\r]*")
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Latest:
    """Serve the `count` newest versions. A count of 0 means 1, as on the wire."""

    count: int = 1


@dataclass(frozen=True, slots=True)
class All:
    """Serve every version."""


@dataclass(frozen=True, slots=True)
class Specific:
    """Serve exactly these versions, as far as they exist: to roll back, or to keep a stable one."""

    versions: frozenset[int] = frozenset()


ServableVersionPolicy: TypeAlias = Latest | All | Specific
"""How many and which versions of one servable are aspired at the same time."""


def parse_version(name: str) -> int | None:
    """Read a directory's name as a version number: `00000001` is 1; None where it is no int64."""
    match = _INTEGER.fullmatch(name)
    if match is None:
        return None
    number = int(match[1])
    return number if number in _INT64 else None


def index_children(
    children: Iterable[str], in_use: Mapping[int, str]
) -> tuple[dict[int, str], list[str]]:
    """Map version numbers to the names of their directories, and say which names lost against
    another.

    Entries are cut at the first "/", because an object store may list descendants. Of two names of
    one number the lexicographically later wins, except against the one that `in_use` says is
    aspired already: a second spelling must not displace a version that serves.
    """
    names_by_version: dict[int, list[str]] = {}
    for name in sorted({child.split("/", 1)[0] for child in children}):
        version = parse_version(name)
        if version is not None:
            names_by_version.setdefault(version, []).append(name)
    index = {v: _winner(names, in_use.get(v)) for v, names in names_by_version.items()}
    warnings = [
        f"Duplicate version directories detected. Version {version} will be loaded from "
        f"{index[version]}, {name} will be ignored."
        for version, names in names_by_version.items()
        for name in names
        if name != index[version]
    ]
    return index, warnings


def _winner(names: list[str], name_in_use: str | None) -> str:
    return name_in_use if name_in_use in names else names[-1]


def select_versions(
    policy: ServableVersionPolicy,
    versions: Iterable[int],
    is_complete: Callable[[int], bool],
) -> list[int]:
    """Choose what is aspired: the versions that `policy` wants among the complete ones, newest
    first.

    `is_complete` is asked from the newest version down, and only about versions that would be
    aspired if it said yes: a version that it refuses is one that the policy holds back.
    """
    newest_first = sorted(versions, reverse=True)
    match policy:
        case Latest(count):
            return list(islice(filter(is_complete, newest_first), max(count, 1)))
        case All():
            return list(filter(is_complete, newest_first))
        case Specific(wanted):
            return [v for v in newest_first if v in wanted and is_complete(v)]
