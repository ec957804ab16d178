"""KubernetesCluster: a `Cluster` on the Kubernetes client, raw paths and JSON objects only.

The client's generated models and its discovery are not used: objects pass through as they are, and
cached discovery goes stale. What is used is its configuration (kubeconfig, ServiceAccount tokens
that rotate, exec plug-ins) and its HTTP layer.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import load_incluster_config, load_kube_config

from modelserver_operator.cluster.failures import failure
from modelserver_operator.cluster.resources import Resource, resource_of_kind
from modelserver_operator.errors import ClusterError, NotFoundError, UnavailableError
from modelserver_operator.json_types import JsonObject

_JSON = "application/json"
_METADATA_ONLY = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_PAGE_SIZE = 100
_CONNECTIONS = 32
_NETWORK_ERRORS = (aiohttp.ClientError, OSError, TimeoutError)


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class KubernetesCluster:
    """A `Cluster` behind an HTTPS connection. Made by `connect`, which also closes it."""

    def __init__(
        self, configuration: Configuration, kubeconfig: Path | None, timeout_seconds: float
    ) -> None:
        self._configuration = configuration
        self._kubeconfig = kubeconfig
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=5)
        self._rest = RESTClientObject(configuration)
        self._may_write: Callable[[], bool] = lambda: True

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._configuration.host)

    def open_session(self) -> aiohttp.ClientSession:
        """An HTTP session to the same server with the same credentials, which the caller closes.

        Credentials are added to each request, so tokens may rotate while it is open.
        """

        async def authorize(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            request.headers.update(await self._credentials())
            return await handler(request)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._rest.ssl_context),
            middlewares=(authorize,),
            proxy=self._configuration.proxy,
        )

    async def reload_credentials(self) -> None:
        """Read the kubeconfig or the ServiceAccount's token again."""
        await _load(self._configuration, self._kubeconfig)

    def write_only_while(self, may_write: Callable[[], bool]) -> None:
        """Refuse with an `UnavailableError` what `Cluster` may change, unless `may_write` says yes
        at that moment. `call` is not concerned.
        """
        self._may_write = may_write

    async def close(self) -> None:
        """Close the connections."""
        await self._rest.close()

    # Reading…

    async def get(self, resource: Resource, namespace: str, name: str) -> JsonObject:
        """See `Cluster`."""
        return await self.call("GET", resource.path(namespace, name))

    async def list_objects(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> list[JsonObject]:
        """See `Cluster`."""
        identity = {"apiVersion": resource.api_version, "kind": resource.kind}
        pages = self._pages(resource.path(namespace), selector, _JSON)
        return [identity | item async for page in pages for item in page]

    async def list_metadata(
        self, resource: Resource, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[JsonObject]:
        """See `Cluster`."""
        async for page in self._pages(resource.path(namespace), selector, _METADATA_ONLY):
            for item in page:
                yield item["metadata"]

    async def serves(self, resource: Resource) -> bool:
        """See `Cluster`."""
        try:
            known = await self.call("GET", resource.group_path)
        except NotFoundError:
            return False
        return any(entry["name"] == resource.plural for entry in known["resources"])

    # Writing…

    async def create(self, manifest: JsonObject) -> JsonObject:
        """See `Cluster`."""
        path = resource_of_kind(manifest["kind"]).path(manifest["metadata"]["namespace"])
        return await self._write("POST", path, manifest, content_type=_JSON)

    async def apply(
        self, manifest: JsonObject, *, manager: str, force: bool = False, subresource: str = ""
    ) -> JsonObject:
        """See `Cluster`."""
        metadata = manifest["metadata"]
        resource = resource_of_kind(manifest["kind"])
        path = resource.path(metadata["namespace"], metadata["name"], subresource)
        query = urlencode({"fieldManager": manager, "force": "true" if force else "false"})
        return await self._write("PATCH", f"{path}?{query}", manifest, content_type=_APPLY)

    async def patch(
        self, resource: Resource, namespace: str, name: str, patch: JsonObject
    ) -> JsonObject:
        """See `Cluster`."""
        path = resource.path(namespace, name)
        return await self._write("PATCH", path, patch, content_type=_MERGE)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """See `Cluster`."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        path = resource.path(namespace, name)
        await self._write("DELETE", path, options, content_type=_JSON)

    # Talking…

    async def _pages(
        self, path: str, selector: str, accept: str
    ) -> AsyncIterator[list[JsonObject]]:
        query = {"limit": str(_PAGE_SIZE)} | ({"labelSelector": selector} if selector else {})
        token = None
        while token != "":
            page = await self.call("GET", f"{path}?{urlencode(query)}", accept=accept)
            # An empty list of metadata has null for its items.
            yield page["items"] or []
            query["continue"] = token = page["metadata"].get("continue", "")

    async def call(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        *,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> JsonObject:
        """Send one request and return the JSON of its answer; raises as `Cluster`'s methods do."""
        headers = {"Accept": accept, "Content-Type": content_type}
        try:
            answer = await self._send(method, path, headers, body)
            if answer.status == 401:
                await self.reload_credentials()
                answer = await self._send(method, path, headers, body)
        except _NETWORK_ERRORS as error:
            raise UnavailableError(f"{method} {path}: {_words(error)}") from error
        if answer.status >= 400:
            raise failure(method, path, answer.status, answer.headers, answer.body)
        return _document(answer.body, f"{method} {path}")

    async def _write(
        self, method: str, path: str, body: JsonObject, *, content_type: str
    ) -> JsonObject:
        if not self._may_write():
            raise UnavailableError(f"{method} {path}: this replica does not lead")
        return await self.call(method, path, body, content_type=content_type)

    async def _send(
        self, method: str, path: str, headers: dict[str, str], body: JsonObject | None
    ) -> _Answer:
        response = await self._rest.request(
            method,
            self.server + path,
            headers=headers | await self._credentials(),
            body=body,
            _request_timeout=self._timeout,
        )
        return _Answer(response.status, response.headers, await response.read())

    async def _credentials(self) -> dict[str, str]:
        configuration = self._configuration
        token = await configuration.get_api_key_with_prefix("BearerToken", "authorization")
        agent = {"User-Agent": "modelserver-operator"}
        return agent | ({"Authorization": token.strip()} if token else {})


@asynccontextmanager
async def connect(
    kubeconfig: Path | None, timeout_seconds: float = 10
) -> AsyncIterator[KubernetesCluster]:
    """Connect as a kubeconfig says, or as the pod's ServiceAccount where there is none.

    Asks the server nothing yet. `timeout_seconds` limits each request, from connecting to the last
    byte.

    Raises:
        ClusterError: the credentials cannot be read; says which file and why.

    """
    # Each connection costs memory. More than the reconciler's reads and writes take at once, so
    # that the Lease's renewal never waits for them.
    configuration = Configuration(connection_pool_maxsize=_CONNECTIONS)
    await _load(configuration, kubeconfig)
    cluster = KubernetesCluster(configuration, kubeconfig, timeout_seconds)
    try:
        yield cluster
    finally:
        await cluster.close()


async def _load(configuration: Configuration, kubeconfig: Path | None) -> None:
    try:
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)
        else:
            await load_kube_config(
                str(kubeconfig), client_configuration=configuration, persist_config=False
            )
    except Exception as error:
        # The client reads a kubeconfig that is none until something gives.
        where = kubeconfig or "the pod's ServiceAccount"
        raise ClusterError(f"no credentials in {where}: {_words(error)}") from error


def _document(body: bytes, request: str) -> JsonObject:
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        # A proxy's page, a load balancer's greeting.
        raise UnavailableError(f"{request}: the answer is no JSON object: {body[:100]!r}")
    return document


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
