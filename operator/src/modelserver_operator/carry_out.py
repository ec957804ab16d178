"""Carrying out a plan: the only writes to anything but the ModelServer's status."""

import logging

from modelserver_operator.cluster.base import Cluster
from modelserver_operator.cluster.resources import POD, resource_of_kind
from modelserver_operator.errors import ForbiddenError, NotFoundError
from modelserver_operator.json_types import JsonObject
from modelserver_operator.plan import Apply, Delete, PatchPod, Plan

FIELD_MANAGER = "modelserver-operator"
HANDOVER_MANAGER = "modelserver-operator-handover"

logger = logging.getLogger(__name__)


async def carry_out(cluster: Cluster, namespace: str, todo: Plan) -> None:
    """Do what `todo` says, in its order, up to the first error.

    What is gone already needs no delete. A pod that may not be patched learns of its new settings
    when its kubelet refreshes the mount by itself: later, and all the same.

    Raises:
        ClusterError: a write failed, or what was observed is not so any more (`ConflictError`).

    """
    for step in todo.applies:
        await _apply(cluster, step)
    for leftover in todo.deletes:
        await _delete(cluster, namespace, leftover)
    for patch in todo.pod_annotations:
        await _annotate(cluster, namespace, patch)


async def _apply(cluster: Cluster, step: Apply) -> None:
    if step.handover is not None:
        handover = _with_uid(step.handover, step.uid)
        await cluster.apply(handover, manager=HANDOVER_MANAGER, force=True)
    manifest = _with_uid(step.manifest, step.uid)
    if step.reset is not None:
        await _reset(cluster, step, step.reset)
    await cluster.apply(manifest, manager=FIELD_MANAGER, force=step.force)
    logger.info("applied %s %s", manifest["kind"], _name(manifest))


async def _reset(cluster: Cluster, step: Apply, patch: JsonObject) -> None:
    metadata = step.manifest["metadata"]
    resource = resource_of_kind(step.manifest["kind"])
    precondition = {"metadata": {"uid": step.uid}}
    await cluster.patch(resource, metadata["namespace"], metadata["name"], patch | precondition)


async def _delete(cluster: Cluster, namespace: str, leftover: Delete) -> None:
    resource = resource_of_kind(leftover.kind)
    try:
        await cluster.delete(resource, namespace, leftover.name, leftover.uid)
    except NotFoundError:
        return
    logger.info("deleted %s %s/%s", leftover.kind, namespace, leftover.name)


async def _annotate(cluster: Cluster, namespace: str, patch: PatchPod) -> None:
    metadata = {"uid": patch.uid, "annotations": {patch.annotation: patch.value}}
    try:
        await cluster.patch(POD, namespace, patch.name, {"metadata": metadata})
    except (NotFoundError, ForbiddenError) as error:
        logger.info("pod %s/%s is not told of its new settings: %s", namespace, patch.name, error)


def _with_uid(manifest: JsonObject, uid: str | None) -> JsonObject:
    if uid is None:
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "uid": uid}}


def _name(manifest: JsonObject) -> str:
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
