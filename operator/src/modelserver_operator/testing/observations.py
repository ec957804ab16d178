"""Makers of observations: a ModelServer, its pods and what they report, in a few words; and what
the status makes of them.

For tests of what decides on an `Observed`. Everything has a default, and the defaults fit together:
one model `mnist` in the claim `models`, one ready pod that serves its version 1.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from modelserver_operator.api import Condition, ModelServer, ModelServerStatus
from modelserver_operator.desired import Desired
from modelserver_operator.json_types import JsonObject
from modelserver_operator.observed import ChildKey, ClaimSnapshot, Observed, PodSnapshot
from modelserver_operator.plan import NameConflict
from modelserver_operator.reports import ModelReport, PodReport, SourceReport, VersionReport
from modelserver_operator.status import status

UID = "server-uid"
CONFIG_HASH = "c0ffee"
DESIRED = Desired(children=(), config_hash=CONFIG_HASH, template_hash="t")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ACCESSIBLE = SourceReport(accessible=True)
MNIST: JsonObject = {"name": "mnist", "uri": "pvc://models/mnist"}


def a_server(
    *,
    models: Sequence[JsonObject] = (MNIST,),
    status: ModelServerStatus | None = None,
    generation: int = 1,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> ModelServer:
    """A ModelServer `web` in namespace `shop`; `spec` takes further fields by their JSON names."""
    metadata = {
        "name": "web",
        "namespace": "shop",
        "uid": UID,
        "generation": generation,
        "annotations": dict(annotations or {}),
    }
    server = ModelServer.parse({"metadata": metadata, "spec": {"models": list(models), **spec}})
    return server.model_copy(update={"status": status or ModelServerStatus()})


def a_pod(name: str = "web-1", **fields: Any) -> PodSnapshot:
    """A running, ready pod; `fields` are those of `PodSnapshot`."""
    defaults: dict[str, Any] = {"uid": f"uid-of-{name}", "phase": "Running", "ready": True}
    return PodSnapshot(name=name, **(defaults | fields))


def a_version(version: int = 1, state: str = "Available", **fields: Any) -> VersionReport:
    """A version in a pod; `fields` are those of `VersionReport`."""
    return VersionReport(version=version, state=state, **fields)


def a_model(
    *versions: VersionReport,
    name: str = "mnist",
    source: SourceReport = ACCESSIBLE,
    **fields: Any,
) -> ModelReport:
    """A model in a pod, with these versions."""
    return ModelReport(name=name, source=source, versions=versions, **fields)


def a_report(
    pod: PodSnapshot, *models: ModelReport, config_hash: str = CONFIG_HASH, **fields: Any
) -> PodReport:
    """What the pod says; without models, that it has version 1 of `mnist` available."""
    said = models or (a_model(a_version()),)
    return PodReport(
        pod_uid=pod.uid, pod_name=pod.name, config_hash=config_hash, models=said, **fields
    )


def a_deployment(replicas: int = 1, *, owner: str = UID, **status: Any) -> JsonObject:
    """The live Deployment, rolled out unless `status`, in its JSON names, says otherwise."""
    rolled_out = {"observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "generation": 1,
            "ownerReferences": [{"uid": owner, "controller": True}],
        },
        "spec": {"replicas": replicas},
        "status": rolled_out | status,
    }


def an_observation(
    server: ModelServer,
    pods: Sequence[PodSnapshot] | None = None,
    reports: Sequence[PodReport] | None = None,
    *,
    deployment: JsonObject | None = None,
    unreachable: Mapping[str, str] | None = None,
    claims: Mapping[str, ClaimSnapshot | None] | None = None,
) -> Observed:
    """Everything around `server`. Without `pods`, as many ready ones as its spec asks for; without
    `reports`, those pods serve.
    """
    wanted = 0 if server.spec.suspend else server.spec.replicas
    if pods is None:
        pods = [a_pod(f"web-{number}") for number in range(1, wanted + 1)]
    if reports is None:
        reports = [a_report(pod) for pod in pods]
    live = deployment or a_deployment(wanted)
    return Observed(
        server=server,
        children={ChildKey("Deployment", "web"): live} if live else {},
        pods=tuple(pods),
        reports={report.pod_uid: report for report in reports},
        unreachable=dict(unreachable or {}),
        claims=dict(claims if claims is not None else {"models": ClaimSnapshot((), "Bound")}),
    )


def judge(
    observed: Observed,
    desired: Desired = DESIRED,
    conflicts: Sequence[NameConflict] = (),
    now: datetime = NOW,
) -> ModelServerStatus:
    """The status that `observed` leads to."""
    return status(observed.server, observed, desired, conflicts, now)


def condition(found: ModelServerStatus, aspect: str) -> Condition:
    """The condition of this type; a KeyError when it is absent."""
    return {condition.type: condition for condition in found.conditions}[aspect]


def verdict(found: ModelServerStatus, aspect: str) -> tuple[str, str] | None:
    """Status and reason of the condition of this type; None when it is absent."""
    said = next((said for said in found.conditions if said.type == aspect), None)
    return (said.status, said.reason) if said else None
