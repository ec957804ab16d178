"""An AspiredVersionPolicy of your own: the version served before stays loaded, so going back to it
takes no load.

    manager = AspiredVersionsManager(keep_previous_version)

It costs the memory of one version more.
"""

from collections.abc import Sequence

from modelserver.core import (
    Action,
    AspiredServableStateSnapshot,
    HarnessState,
    ServableAction,
    availability_preserving,
)


def keep_previous_version(
    versions: Sequence[AspiredServableStateSnapshot],
) -> ServableAction | None:
    """As `availability_preserving`, except that the highest unaspired version that is ready is not
    unloaded.

    When nothing is aspired any more, nothing is kept.
    """
    if not any(version.is_aspired for version in versions):
        return availability_preserving(versions)
    leaving = [v.id for v in versions if not v.is_aspired and v.state is HarnessState.READY]
    surplus = sorted(leaving)[:-1]
    if surplus:
        return ServableAction(Action.UNLOAD, surplus[0])
    kept = set(leaving)
    return availability_preserving([version for version in versions if version.id not in kept])
