"""What the scheduler says about a pod without a node, and what to do about it.

Its message counts nodes ("0/512 nodes are available: 3 Insufficient cpu, …"), so it changes when
any node comes or goes; the causes without their counts do not.
"""

import re
from collections.abc import Iterator

_PREEMPTION = re.compile(r"\.?\s*preemption:.*$", re.DOTALL)
_OPENING = re.compile(r"^\d+/\d+ nodes are available:?\s*")
_CAUSE = re.compile(r"(?:[^,{]|\{[^}]*\})+")
_COUNT = re.compile(r"^\d+\s+")

_HINTS = (
    (
        re.compile(r"Insufficient \S+/\S+"),
        "no node has that many devices free: add a node that has them (with its device plugin), "
        "free some, or lower spec.gpu.count",
    ),
    (
        re.compile(r"Insufficient (cpu|memory|ephemeral-storage)"),
        "lower spec.resources.requests, or add a node",
    ),
    (re.compile(r"Too many pods"), "add a node"),
    (
        re.compile(r"persistentvolumeclaim \S+ not found"),
        "create the claim, or correct the uri or spec.cache.claimName that names it",
    ),
    (
        re.compile(r"unbound immediate PersistentVolumeClaims"),
        "the claim has no volume yet: `kubectl describe pvc` says why",
    ),
    (
        re.compile(r"volume node affinity conflict|unavailable due to PersistentVolumeClaim"),
        "the claim's volume is on another node or in another zone, or is taken by another pod: "
        "a ReadWriteOnce claim serves pods on one node only",
    ),
    (re.compile(r"untolerated taint"), "add spec.tolerations, or a node without that taint"),
    (
        re.compile(r"node affinity/selector"),
        "no node has the labels of spec.nodeSelector and spec.affinity",
    ),
)


def causes(message: str) -> tuple[str, ...]:
    """The reasons for which nodes were ruled out, without counts, in alphabetical order."""
    text = _OPENING.sub("", _PREEMPTION.sub("", message.strip()))
    found = {_COUNT.sub("", cause.strip()).rstrip(".") for cause in _CAUSE.findall(text)}
    return tuple(sorted(cause for cause in found if cause))


def hints(message: str) -> tuple[str, ...]:
    """What to do about the causes that are known."""
    return tuple(_matching(message))


def _matching(message: str) -> Iterator[str]:
    return (hint for pattern, hint in _HINTS if pattern.search(message))
