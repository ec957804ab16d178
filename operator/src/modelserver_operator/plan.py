"""Plan: what to do so that what should exist does. Pure, and the only place that decides on writes.

The rules that keep the operator from harming what is not its own are here: nothing is forced onto
an object unless it is ours and still the one that was seen (its uid goes along), and nothing is
deleted that is not ours. Ours is what this resource controls, and what an earlier one of its name
left behind (see `Ownership`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from modelserver_operator.desired import Desired
from modelserver_operator.desired.field_ownership import is_applied, own_fields
from modelserver_operator.desired.labels import NAME_LABEL, config_map_name
from modelserver_operator.desired.ownership import Ownership, controller, ownership
from modelserver_operator.desired.pod_annotation import next_attempt
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ChildKey, Observed, PodSnapshot
from modelserver_operator.observed_pods import CONFIG_HASH_ANNOTATION


@dataclass(frozen=True, slots=True)
class Apply:
    """A server-side apply of `manifest` as field manager `modelserver-operator`.

    `uid` is that of the live object, to be sent as `metadata.uid` (another object under the same
    name is refused then); None for one that is to be created, which is never forced. `handover`,
    where there is one, is applied first, forced, with the same uid, as
    `modelserver-operator-handover`: it takes over a field that `manifest` lets go of, which the API
    server would otherwise set back to its default. `reset`, where there is one, is a JSON merge
    patch to send first, with the same uid: it removes what an apply would leave in place.
    """

    manifest: JsonObject
    force: bool = False
    uid: str | None = None
    handover: JsonObject | None = None
    reset: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object if it still has this `uid`."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class NameConflict:
    """An object under one of our names is not ours, and is left alone."""

    kind: str
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class PatchPod:
    """Set one annotation of one pod."""

    name: str
    uid: str
    annotation: str
    value: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order: applies as they stand, then deletes, then pods. Whoever carries it
    out stops at the first apply that fails: later steps rely on earlier ones.
    """

    applies: tuple[Apply, ...] = ()
    deletes: tuple[Delete, ...] = ()
    conflicts: tuple[NameConflict, ...] = ()
    pod_annotations: tuple[PatchPod, ...] = ()


def plan(desired: Desired, observed: Observed, now: datetime) -> Plan:
    """Compare what should exist with what does. `now` is aware, in UTC.

    Empty once all is as it should be, while the resource is paused or being deleted: the garbage
    collector takes the children then.
    """
    server = observed.server
    if server.is_paused or server.metadata.deletion_timestamp is not None:
        return Plan()
    return Plan(
        applies=tuple(_applies(desired, observed)),
        deletes=tuple(_deletes(desired, observed)),
        conflicts=tuple(_conflicts(desired, observed)),
        pod_annotations=tuple(_pod_annotations(desired, observed, now)),
    )


# Applying…


def _applies(desired: Desired, observed: Observed) -> Iterable[Apply]:
    for manifest in desired.children:
        live = observed.children.get(_key(manifest))
        if live is None:
            yield Apply(manifest)
        elif _is_to_change(manifest, live, observed):
            yield _change(manifest, live, observed)


def _is_to_change(manifest: JsonObject, live: JsonObject, observed: Observed) -> bool:
    # What is being deleted is created anew once it is gone.
    is_going = "deletionTimestamp" in live["metadata"]
    if is_going or not _may_write(live, observed):
        return False
    return not is_applied(manifest, live) or _reset(manifest, live) is not None


def _change(manifest: JsonObject, live: JsonObject, observed: Observed) -> Apply:
    return Apply(
        manifest,
        force=True,
        uid=live["metadata"]["uid"],
        handover=_handover(manifest, live, observed),
        reset=_reset(manifest, live),
    )


def _reset(manifest: JsonObject, live: JsonObject) -> JsonObject | None:
    """What removes the ports that others have put into a Service of ours.

    They expose what is not for clients; and one that has taken the name of ours, as an edit of its
    number makes it, would have the API server refuse to take ours back.
    """
    if manifest["kind"] != "Service":
        return None
    ports = manifest["spec"]["ports"]
    live_ports = (live.get("spec") or {}).get("ports") or []
    has_others = not set(map(_port_key, live_ports)) <= set(map(_port_key, ports))
    return {"spec": {"ports": ports}} if has_others else None


def _port_key(port: JsonObject) -> tuple[int, str]:
    return port["port"], port.get("protocol", "TCP")


def _handover(manifest: JsonObject, live: JsonObject, observed: Observed) -> JsonObject | None:
    """What keeps the number of pods when the Deployment's `replicas` is left to an autoscaler."""
    autoscaling = observed.server.spec.autoscaling
    is_let_go = manifest["kind"] == "Deployment" and "replicas" not in manifest["spec"]
    is_ours = "f:replicas" in own_fields(live).get("f:spec", {})
    if autoscaling is None or not (is_let_go and is_ours):
        return None
    # An autoscaler leaves a Deployment without pods as it is: after a suspension it needs a start.
    replicas = max(live["spec"].get("replicas", 1), autoscaling.min_replicas)
    metadata = {key: manifest["metadata"][key] for key in ("name", "namespace")}
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": metadata,
        "spec": {"replicas": replicas},
    }


# What is not ours…


def _may_write(live: JsonObject, observed: Observed) -> bool:
    return ownership(live, observed.server) in (Ownership.OURS, Ownership.ORPHAN)


def _conflicts(desired: Desired, observed: Observed) -> Iterable[NameConflict]:
    for key in map(_key, desired.children):
        live = observed.children.get(key)
        if live is not None and ownership(live, observed.server) is Ownership.FOREIGN:
            yield NameConflict(key.kind, key.name, _conflict_message(key, live))


def _conflict_message(key: ChildKey, live: JsonObject) -> str:
    owner = controller(live)
    whose = f"belongs to {owner['kind']} {owner['name']}" if owner else "was made by somebody else"
    return f"{key.kind} {key.name} {whose}: delete or rename it, or rename the ModelServer"


# Deleting…


def _deletes(desired: Desired, observed: Observed) -> Iterable[Delete]:
    wanted = {_key(manifest) for manifest in desired.children}
    for key, live in observed.children.items():
        if key not in wanted and _is_leftover(live, observed):
            yield Delete(key.kind, key.name, live["metadata"]["uid"])


def _is_leftover(live: JsonObject, observed: Observed) -> bool:
    metadata = live["metadata"]
    is_labelled = (metadata.get("labels") or {}).get(NAME_LABEL) == observed.server.metadata.name
    return _may_write(live, observed) and is_labelled and "deletionTimestamp" not in metadata


# Pods…


def _pod_annotations(desired: Desired, observed: Observed, now: datetime) -> Iterable[PatchPod]:
    config_map = ChildKey("ConfigMap", config_map_name(observed.server.metadata.name))
    live = observed.children.get(config_map)
    if live is not None and not _may_write(live, observed):
        return
    for pod in observed.pods:
        if lags(pod, desired.config_hash, observed):
            attempt = next_attempt(pod.config_hash, desired.config_hash, now)
            if attempt is not None:
                yield PatchPod(pod.name, pod.uid, CONFIG_HASH_ANNOTATION, attempt.value())


def lags(pod: PodSnapshot, config_hash: str, observed: Observed) -> bool:
    """Whether the pod is known to act on another document than the newest. A pod that has never
    reported reads the newest when it starts; one that has refused the newest has seen it.
    """
    report = observed.reports.get(pod.uid)
    if report is None or not pod.is_live or report.config_hash == config_hash:
        return False
    return report.config_error is None or report.config_error.hash != config_hash


def _key(manifest: JsonObject) -> ChildKey:
    return ChildKey(manifest["kind"], manifest["metadata"]["name"])
