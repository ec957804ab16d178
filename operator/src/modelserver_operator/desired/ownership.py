"""Whose a live object is: the rule that keeps the operator from touching what others made."""

from enum import Enum

from modelserver_operator.api import API_VERSION, KIND, ModelServer
from modelserver_operator.desired.labels import MANAGED_BY_LABEL, MANAGER, NAME_LABEL
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ChildKey, Observed


class Ownership(Enum):
    """Whose a live object under one of our names is.

    OURS: this ModelServer controls it. ORPHAN: nobody controls it and its labels say that it was
    made for a ModelServer of this name, as `kubectl delete --cascade=orphan` leaves it: it may be
    adopted. FORMER: a deleted ModelServer of the same name controls it; the garbage collector is
    about to delete it. FOREIGN: anything else; never touched.
    """

    OURS = "ours"
    ORPHAN = "orphan"
    FORMER = "former"
    FOREIGN = "foreign"


def ownership(live: JsonObject, server: ModelServer) -> Ownership:
    """Tell whose `live` is, seen from `server`."""
    owner = controller(live)
    if owner is None:
        return Ownership.ORPHAN if _is_labelled_ours(live, server) else Ownership.FOREIGN
    if owner.get("uid") == server.metadata.uid:
        return Ownership.OURS
    return Ownership.FORMER if _is_namesake(owner, server) else Ownership.FOREIGN


def controller(live: JsonObject) -> JsonObject | None:
    """The owner reference of the one that controls `live`, if any."""
    owners: list[JsonObject] = live["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def own_child(observed: Observed, kind: str, name: str) -> JsonObject | None:
    """The live child so called, if there is one and it is ours or may be adopted."""
    live = observed.children.get(ChildKey(kind, name))
    if live is None or ownership(live, observed.server) not in (Ownership.OURS, Ownership.ORPHAN):
        return None
    return live


def _is_labelled_ours(live: JsonObject, server: ModelServer) -> bool:
    labels = live["metadata"].get("labels") or {}
    return (
        labels.get(NAME_LABEL) == server.metadata.name and labels.get(MANAGED_BY_LABEL) == MANAGER
    )


def _is_namesake(owner: JsonObject, server: ModelServer) -> bool:
    return (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) == (
        API_VERSION,
        KIND,
        server.metadata.name,
    )
