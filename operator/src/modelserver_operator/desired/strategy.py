"""How the Deployment replaces its pods."""

from collections.abc import Mapping
from dataclasses import dataclass

from modelserver_operator.api import ModelServer
from modelserver_operator.desired.model_uri import model_claims
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ClaimSnapshot

_ONE_NODE_MODES = frozenset({"ReadWriteOnce", "ReadWriteOncePod"})


@dataclass(frozen=True, slots=True)
class Strategy:
    """A Deployment's `strategy`, and a sentence on why it is not the usual one, or empty."""

    manifest: JsonObject
    note: str = ""


def strategy(server: ModelServer, claims: Mapping[str, ClaimSnapshot | None]) -> Strategy:
    """Choose it: without a gap in serving where the cluster has room for one more pod."""
    claim = _one_node_claim(server, claims)
    if claim is not None:
        note = (
            f"claim {claim} can be used on one node at a time (ReadWriteOnce): a change of the "
            "pods ends the old ones first; use a ReadOnlyMany or ReadWriteMany claim to avoid this"
        )
        return Strategy({"type": "Recreate"}, note)
    gpu = server.spec.gpu
    if gpu is None:
        return Strategy(_rolling("25%", 0))
    note = f"no spare {gpu.resource_name} is assumed: a pod ends before its replacement starts"
    if server.spec.autoscaling is None and server.spec.replicas < 2:
        return Strategy({"type": "Recreate"}, note)
    return Strategy(_rolling(0, 1), note)


def _rolling(max_surge: int | str, max_unavailable: int) -> JsonObject:
    update = {"maxSurge": max_surge, "maxUnavailable": max_unavailable}
    return {"type": "RollingUpdate", "rollingUpdate": update}


def _one_node_claim(server: ModelServer, claims: Mapping[str, ClaimSnapshot | None]) -> str | None:
    """The first claim, by name, that pods on two nodes cannot share."""
    cache = server.spec.cache
    cache_claims = [cache.claim_name] if cache and cache.claim_name else []
    for name in sorted({*model_claims(server), *cache_claims}):
        claim = claims.get(name)
        if (
            claim is not None
            and claim.access_modes
            and _ONE_NODE_MODES.issuperset(claim.access_modes)
        ):
            return name
    return None
