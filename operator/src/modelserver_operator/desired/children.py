"""Desired: everything that should exist for one ModelServer."""

from dataclasses import dataclass

from modelserver_operator.api import ModelServer
from modelserver_operator.desired.autoscaler import autoscaler
from modelserver_operator.desired.canonical import canonical_json, digest
from modelserver_operator.desired.config_document import (
    WRITABLE_SCHEMAS,
    ConfigDocument,
    config_document,
)
from modelserver_operator.desired.config_map import config_map
from modelserver_operator.desired.defaults import Defaults
from modelserver_operator.desired.deployment import deployment
from modelserver_operator.desired.disruption_budget import disruption_budget
from modelserver_operator.desired.labels import APPLIED_HASH_ANNOTATION
from modelserver_operator.desired.network_policy import network_policy
from modelserver_operator.desired.pod_monitor import pod_monitor
from modelserver_operator.desired.service import headless_service, service
from modelserver_operator.desired.strategy import strategy
from modelserver_operator.desired.template_revision import template_revision
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import Observed


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something asked for that cannot be had. `reason` is a CamelCase word for a condition."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Desired:
    """Every child that should exist, in the order in which they are to be applied.

    `config_hash` is what pods report once they act on the newest config document; `template_hash`
    the hash of what the pod template was made from. `notes` are sentences on choices that may
    surprise, for a condition's message; `forbidden` is what the API server said when it would not
    have one of the children, empty when it had them.
    """

    children: tuple[JsonObject, ...]
    config_hash: str
    template_hash: str
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    forbidden: str = ""


def desired(server: ModelServer, defaults: Defaults, observed: Observed) -> Desired:
    """Work it out. What is observed decides only where the resource cannot: on the schema of the
    config document, on what starting pods await, on how pods are replaced, and on whether a
    template has been rendered before.
    """
    document = config_document(server, observed)
    revision = template_revision(server, defaults, observed)
    replacing = strategy(server, observed.claims)
    monitor = pod_monitor(server, observed.capabilities)
    # What a pod needs is there before the Deployment is, and what keeps its template, too.
    children = (
        config_map(server, document),
        revision.manifest,
        service(server),
        headless_service(server),
        network_policy(server, defaults, is_monitored=monitor is not None),
        deployment(server, revision.template, replacing.manifest),
        disruption_budget(server),
        autoscaler(server),
        monitor,
    )
    return Desired(
        children=tuple(_stamped(child) for child in children if child is not None),
        config_hash=document.hash,
        template_hash=revision.hash,
        refusals=_refusals(document),
        notes=(replacing.note,) if replacing.note else (),
    )


def _refusals(document: ConfigDocument) -> tuple[Refusal, ...]:
    if document.is_understood:
        return ()
    schemas = ", ".join(map(str, WRITABLE_SCHEMAS))
    message = (
        f"no config schema that this operator writes ({schemas}) is accepted by all pods: "
        "run a server image and an operator of neighbouring releases"
    )
    return (Refusal("ConfigRefused", message),)


def _stamped(manifest: JsonObject) -> JsonObject:
    """Say on the object what was applied last, so that a field that is no longer in the manifest
    is known to be left over.
    """
    stamp = {APPLIED_HASH_ANNOTATION: digest(canonical_json(manifest))[:16]}
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), **stamp}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
