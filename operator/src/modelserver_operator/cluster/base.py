"""Cluster: what the operator needs of an API server, and nothing more.

`KubernetesCluster` is the real one, `modelserver_operator.testing.FakeCluster` the fake;
`tests/contract/test_cluster.py` holds both to what stands here.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from modelserver_operator.cluster.resources import Resource
from modelserver_operator.json_types import JsonObject


class Cluster(Protocol):
    """Objects of a cluster as JSON. Every method belongs to the event loop, returns or raises
    within its request timeout, and raises nothing but `ClusterError`s: `NotFoundError`,
    `ForbiddenError`, `InvalidError` and `ConflictError` mean what their names say, and
    `UnavailableError` everything that may pass by itself. No call is retried here: the caller's
    queue does that, with backoff.
    """

    async def get(self, resource: Resource, namespace: str, name: str) -> JsonObject:
        """Read one object."""

    async def list_objects(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> list[JsonObject]:
        """Read all objects of a kind in a namespace (None: in all) that match a label selector."""

    def list_metadata(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[JsonObject]:
        """Go through the `metadata` of the objects that `list_objects` would return, in pages:
        bodies are neither sent nor kept.
        """

    async def create(self, manifest: JsonObject) -> JsonObject:
        """Create an object; `ConflictError` when its name is taken."""

    async def apply(
        self, manifest: JsonObject, *, manager: str, force: bool = False, subresource: str = ""
    ) -> JsonObject:
        """Server-side apply: own the fields of the manifest and let go of those that were owned.

        Creates what does not exist. `ConflictError` when another manager owns one of the fields
        with another value, unless `force` takes it over; and when `metadata.uid` is given and the
        live object has another, or there is none.
        """

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: JsonObject
    ) -> JsonObject:
        """Apply a JSON merge patch. `ConflictError` when it names a `metadata.uid` or
        `metadata.resourceVersion` that is not the object's.
        """

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete the object that has this uid, its dependents in the background; `ConflictError`
        when another one has taken its name.
        """

    async def serves(self, resource: Resource) -> bool:
        """Whether the API server has this kind at all."""
