"""Facts: what the checks of the conditions look at, and Finding: what one of them found.

A condition is a chain of checks. Each looks at the facts and finds something, or nothing; the first
finding is the condition. The list of a chain is its specification.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from modelserver_operator.api import Condition, ModelServer, ModelServerStatus
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ChildKey, ClaimSnapshot, Observed
from modelserver_operator.status.pods import PodView, pod_view
from modelserver_operator.status.reasons import Aspect, Reason
from modelserver_operator.status.rows import Rows, merge_rows

Truth = Literal["True", "False", "Unknown"]


class Refusal(Protocol):
    """Something in the spec that cannot be carried out."""

    @property
    def reason(self) -> str:
        """A CamelCase word."""

    @property
    def message(self) -> str:
        """What is wrong, and what to write instead."""


class Conflict(Protocol):
    """An object that is not ours under a name that we need."""

    @property
    def kind(self) -> str:
        """Its kind."""

    @property
    def message(self) -> str:
        """Whose it is, and what to do."""


class Desired(Protocol):
    """What of the desired state the status depends on."""

    @property
    def children(self) -> Sequence[JsonObject]:
        """The manifests of all children, each with a hash of itself in an annotation."""

    @property
    def config_hash(self) -> str:
        """The hash of the config document that pods should follow."""

    @property
    def refusals(self) -> Sequence[Refusal]:
        """What cannot be carried out; empty when all can."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on choices that may surprise."""

    @property
    def forbidden(self) -> str:
        """Why the API server would not have one of the children; empty when it had them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    `aside` follows the message but is not compared: words of others that may differ each time.
    They stay as they were for as long as the rest does, so that they cause no write.
    """

    status: Truth
    reason: Reason
    message: str
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """One ModelServer as the checks see it.

    `conditions` are those of the present status, by type.
    """

    server: ModelServer
    desired: Desired
    conflicts: Sequence[Conflict]
    view: PodView
    rows: Rows
    children: Mapping[ChildKey, JsonObject]
    claims: Mapping[str, ClaimSnapshot | None]
    conditions: Mapping[str, Condition]

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the spec's models."""
        return tuple(model.name for model in self.server.spec.models)

    @property
    def deployment(self) -> JsonObject | None:
        """The live Deployment, if it is ours."""
        live = self.children.get(ChildKey("Deployment", self.server.metadata.name))
        return live if live is not None and self._controls(live) else None

    @property
    def wanted_replicas(self) -> int:
        """How many pods there should be; an autoscaler has written it into the Deployment."""
        spec = self.server.spec
        if spec.suspend:
            return 0
        if spec.autoscaling is None:
            return spec.replicas
        live = (self.deployment or {}).get("spec") or {}
        return int(live.get("replicas", spec.autoscaling.min_replicas))

    def last(self, aspect: Aspect) -> Condition | None:
        """The condition as the present status has it."""
        return self.conditions.get(aspect)

    def _controls(self, live: JsonObject) -> bool:
        owners = live["metadata"].get("ownerReferences") or ()
        uid = self.server.metadata.uid
        return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)


Check = Callable[[Facts], Finding | None]


def gather_facts(
    server: ModelServer, observed: Observed, desired: Desired, conflicts: Sequence[Conflict]
) -> Facts:
    """Put together what the checks look at."""
    view = pod_view(observed)
    is_off = server.spec.suspend or (server.spec.autoscaling is None and not server.spec.replicas)
    # Where no pod is wanted, what pods once had is not there any more.
    last = ModelServerStatus() if is_off else server.status
    return Facts(
        server=server,
        desired=desired,
        conflicts=conflicts,
        view=view,
        rows=merge_rows(view, [model.name for model in server.spec.models], last),
        children=observed.children,
        claims=observed.claims,
        conditions={condition.type: condition for condition in server.status.conditions},
    )


def first_finding(chain: Sequence[Check], facts: Facts) -> Finding | None:
    """Go through a chain of checks up to the first that finds something."""
    return next((found for check in chain if (found := check(facts)) is not None), None)
