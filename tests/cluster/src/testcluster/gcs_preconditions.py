"""What Cloud Storage does with `ifGenerationMatch`, and fake-gcs-server does with uploads only."""

import json
from collections.abc import Callable

from testcluster.gcs_requests import GcsRequest

_PARAMETER = "ifGenerationMatch"
_KINDS = ("read", "metadata", "delete")


def demanded_generation(request: GcsRequest) -> str | None:
    """The generation without which the request must fail, "0" for there being no object, if the
    emulator would not see to it.
    """
    return request.parameters.get(_PARAMETER) if request.kind in _KINDS else None


def conditional_target(request: GcsRequest, target: str) -> str:
    """A target by which the emulator deletes nothing but the demanded generation."""
    demanded = demanded_generation(request)
    if request.kind != "delete" or demanded is None:
        return target
    # It takes 0 for "any", but no generation is ever 1.
    return f"{target}&generation={max(int(demanded), 1) if demanded.isdecimal() else demanded}"


def is_refused(
    request: GcsRequest, status: int, generation: str | None, is_there: Callable[[], bool]
) -> bool:
    """Whether the answer to the request must be 412 instead of this one.

    `generation` is that of the object in the answer, where there is one. `is_there()` says whether
    the object exists; only a deletion in vain makes it necessary to ask.
    """
    demanded = demanded_generation(request)
    if demanded is None:
        return False
    if request.kind == "delete":
        return status == 404 and is_there()
    return generation is not None and generation != demanded


def generation_in(content: bytes) -> str | None:
    """The generation in an object's resource, if that is what the content is."""
    try:
        resource = json.loads(content)
    except ValueError:
        return None
    return resource.get("generation") if isinstance(resource, dict) else None
