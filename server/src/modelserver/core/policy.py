"""AspiredVersionPolicy: which one action to take next on the versions of one servable name.

A policy is a pure function over a snapshot, stateless and idempotent; it returns at most one
action. The manager asks it again after every change, so a policy never plans ahead. A plug-in
policy is any function of this type.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from modelserver.core.harness import HarnessState
from modelserver.core.servable import ServableId


@dataclass(frozen=True, slots=True)
class AspiredServableStateSnapshot:
    """What a policy sees of one version: `state` of its harness, and whether it is aspired at the
    moment.
    """

    id: ServableId
    state: HarnessState
    is_aspired: bool


class Action(enum.Enum):
    """What can be done to a version."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class ServableAction:
    """One decision: load a version that is NEW, or unload one that is READY."""

    action: Action
    id: ServableId


AspiredVersionPolicy: TypeAlias = Callable[
    [Sequence[AspiredServableStateSnapshot]], ServableAction | None
]
"""Given all versions of one name, in any order, return the next action, or None to leave things as
they are."""


def availability_preserving(
    versions: Sequence[AspiredServableStateSnapshot],
) -> ServableAction | None:
    """Load the new before unloading the old: while any version is aspired, one stays available.

    1. Unload the lowest unaspired READY version if that costs no availability: nothing is aspired
       at all, or an aspired version is READY, or another unaspired one still is. One whose number
       is aspired from another place stays while that is on its way: requests may name the number.
    2. Else load the highest aspired NEW version.

    So the last good version serves on until an aspired one is READY: for ever if none gets there.
    """
    aspired = [version for version in versions if version.is_aspired]
    has_successor = any(version.state is HarnessState.READY for version in aspired)
    arrived = _ARRIVED_OR_FAILED if has_successor else _ARRIVED
    on_their_way = {version.id for version in aspired if version.state not in arrived}
    ready = _unaspired_ready(versions)
    surplus = [id for id in ready if id not in on_their_way]
    if surplus and (not aspired or has_successor or len(ready) > 1):
        return ServableAction(Action.UNLOAD, min(surplus))
    return _load_highest_new(aspired)


def resource_preserving(versions: Sequence[AspiredServableStateSnapshot]) -> ServableAction | None:
    """Unload the old before loading the new, at the price of a gap.

    Memory never holds an unaspired version beside one that is being loaded.

    1. Unload an unaspired READY version.
    2. Wait while an unaspired version is still on its way out (or still loading).
    3. Load the highest aspired NEW version.
    """
    surplus = _unaspired_ready(versions)
    if surplus:
        return ServableAction(Action.UNLOAD, min(surplus))
    if any(not v.is_aspired and v.state not in _HOLDS_NOTHING for v in versions):
        return None
    return _load_highest_new([version for version in versions if version.is_aspired])


_ARRIVED = frozenset({HarnessState.READY})
_ARRIVED_OR_FAILED = frozenset({HarnessState.READY, HarnessState.ERROR})
_HOLDS_NOTHING = frozenset({HarnessState.DISABLED, HarnessState.ERROR})


def _unaspired_ready(versions: Sequence[AspiredServableStateSnapshot]) -> list[ServableId]:
    return [v.id for v in versions if not v.is_aspired and v.state is HarnessState.READY]


def _load_highest_new(aspired: Sequence[AspiredServableStateSnapshot]) -> ServableAction | None:
    new = [version.id for version in aspired if version.state is HarnessState.NEW]
    return ServableAction(Action.LOAD, max(new)) if new else None
