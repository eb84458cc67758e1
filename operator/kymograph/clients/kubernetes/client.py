"""The client of the API server: one aiohttp session, orjson both ways, a client span around every call.

Objects are plain dicts. The client retries nothing by itself: who calls knows whether a second try is harmless.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import orjson
import yarl

from kymograph.clients.kubernetes import connection as connections
from kymograph.clients.kubernetes import errors, resources
from kymograph.telemetry import semconv
from kymograph.telemetry.current import ClientSpans

FIELD_MANAGER = "kymograph"
"""Who owns the fields that the operator applies (server-side apply)."""

PAGE_SIZE = 100
"""Objects asked for at once: more would keep the event loop from a waiting review while they are decoded."""

CALL_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_read=330)

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_WATCH_LINE_LIMIT = 64 * 1024 * 1024


class KubernetesClient:
    """Calls the API server under one identity.

    Args:
        connection: Where and as whom.
        spans: Opens the span of each call.
    """

    def __init__(self, connection: connections.Connection, spans: ClientSpans) -> None:
        self._spans = spans
        self._base = yarl.URL(connection.server)
        self._session = session(connection)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def get(
        self, resource: resources.Resource, name: str, *, namespace: str = "", metadata_only: bool = False
    ) -> dict[str, Any]:
        """One object.

        Raises:
            NotFound: It does not exist.
            KubernetesError: Anything else went wrong.
        """
        path = resource.path(namespace=namespace, name=name)
        return await self._call("GET", path, "get", resource, namespace, accept=_METADATA if metadata_only else _JSON)

    async def create(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Create an object; raises Conflict where it exists."""
        path = resource.path(namespace=namespace)
        return await self._call("POST", path, "create", resource, namespace, body=document)

    async def update(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Replace an object; raises Conflict where its resourceVersion is not the latest."""
        path = resource.path(namespace=namespace, name=document["metadata"]["name"])
        return await self._call("PUT", path, "update", resource, namespace, body=document)

    async def apply(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = "", subresource: str = ""
    ) -> dict[str, Any]:
        """Apply the fields of a document as ours (server-side apply), taking them over where others set them."""
        path = resource.path(namespace=namespace, name=document["metadata"]["name"], subresource=subresource)
        return await self._call(
            "PATCH",
            path,
            "apply",
            resource,
            namespace,
            body=document,
            content_type=_APPLY,
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
        )

    async def merge(
        self,
        resource: resources.Resource,
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Patch an object by a JSON merge patch (RFC 7386)."""
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        return await self._call("PATCH", path, "patch", resource, namespace, body=patch, content_type=_MERGE)

    async def delete(
        self,
        resource: resources.Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str | None = None,
    ) -> None:
        """Delete an object, only the one with that uid and in that version where given.

        Args:
            resource: What it is.
            name: Its name.
            namespace: Its namespace.
            uid: Delete no other object of that name.
            resource_version: Delete it only while nobody has changed it.
            propagation: What becomes of its dependents: `Foreground`, `Background` or `Orphan`; None is the kind's
                default.

        Raises:
            NotFound: It does not exist.
            Conflict: It is not the one with that uid, or has changed.
            KubernetesError: Anything else went wrong.
        """
        path = resource.path(namespace=namespace, name=name)
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        body: dict[str, Any] = {}
        if uid or resource_version:
            body["preconditions"] = {key: value for key, value in preconditions.items() if value}
        if propagation:
            body["propagationPolicy"] = propagation
        await self._call("DELETE", path, "delete", resource, namespace, body=body or None)

    async def pages(
        self,
        resource: resources.Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection, as lists of at most `PAGE_SIZE` items, in one consistent snapshot.

        Raises:
            Expired: Reading took so long that the snapshot is gone; start again.
        """
        query = {"limit": str(PAGE_SIZE)}
        if label_selector:
            query["labelSelector"] = label_selector
        accept = _METADATA_LIST if metadata_only else _JSON
        while True:
            path = resource.path(namespace=namespace)
            page = await self._call("GET", path, "list", resource, namespace, query=query, accept=accept)
            yield page
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def read(self, path: str, *, accept: str = _JSON) -> dict[str, Any]:
        """A document at a path that is no resource, such as discovery."""
        return await self._call("GET", path, "get", None, "", accept=accept)

    async def watch(
        self,
        resource: resources.Resource,
        resource_version: str,
        *,
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """The events of a collection since a resourceVersion, bookmarks included, until the server ends the watch.

        Raises:
            Expired: The resourceVersion is too old; list again.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "300",
            "resourceVersion": resource_version,
        }
        if label_selector:
            query["labelSelector"] = label_selector
        accept = _METADATA if metadata_only else _JSON
        url = self._base.with_path(resource.path(), encoded=True).with_query(query)
        headers = {"Accept": accept}
        with _translated():
            async with self._session.get(url, headers=headers, timeout=WATCH_TIMEOUT) as response:
                if response.status != 200:
                    raise errors.from_status(response.status, _decoded(await response.read()))
                async for line in _lines(response):
                    event = orjson.loads(line)
                    if event.get("type") == "ERROR":
                        status = event.get("object") or {}
                        raise errors.from_status(int(status.get("code") or 500), status)
                    yield event

    async def _call(
        self,
        method: str,
        path: str,
        verb: str,
        resource: resources.Resource | None,
        namespace: str,
        *,
        body: Mapping[str, Any] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        url = self._base.with_path(path, encoded=True)
        if query:
            url = url.with_query(query)
        data = orjson.dumps(body) if body is not None else None
        attributes: Mapping[str, str | int] = {
            semconv.KUBE_CLIENT_GROUP: resource.group if resource else "",
            semconv.KUBE_CLIENT_KIND: resource.kind if resource else "",
            semconv.KUBE_CLIENT_NAMESPACE: namespace,
            semconv.KUBE_CLIENT_OPERATION: verb,
            semconv.HTTP_REQUEST_METHOD: method,
            semconv.SERVER_ADDRESS: self._base.host or "",
            semconv.SERVER_PORT: self._base.port or 0,
        }
        with self._spans.start(f"KUBE {verb} {resource.plural if resource else path}", attributes) as span:
            headers = {"Accept": accept, **span.headers}
            if data is not None:
                headers["Content-Type"] = content_type
            with _translated():
                async with self._session.request(
                    method, url, data=data, headers=headers, timeout=CALL_TIMEOUT
                ) as response:
                    content = await response.read()
                    status = response.status
            span.set_status(status)
            if status >= 400:
                raise errors.from_status(status, _decoded(content))
            document = _decoded(content)
            if not isinstance(document, dict):
                raise errors.StatusError(status, "", "the answer is no JSON object")
            return document


def session(connection: connections.Connection) -> aiohttp.ClientSession:
    """A session that speaks to the API server as the connection's identity, with the token of the moment."""
    connector = aiohttp.TCPConnector(limit=0, ssl=connection.tls if connection.tls is not None else False)
    made = aiohttp.ClientSession(connector=connector, read_bufsize=2**18, middlewares=(_authorizing(connection),))
    made.headers["User-Agent"] = "kymograph"
    return made


def _authorizing(connection: connections.Connection) -> aiohttp.ClientMiddlewareType:
    async def authorize(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        token = connection.token()
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return await handler(request)

    return authorize


def _decoded(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of a watch, of any length up to a limit (aiohttp's own reader refuses lines past its buffer)."""
    rest = bytearray()
    async for chunk in response.content.iter_any():
        rest += chunk
        if len(rest) > _WATCH_LINE_LIMIT:
            raise errors.Unreachable("a watch event is larger than the client accepts")
        *complete, last = rest.split(b"\n")
        rest = bytearray(last)
        for line in complete:
            if line:
                yield bytes(line)


@contextlib.contextmanager
def _translated() -> Any:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.Unreachable(f"{type(error).__name__}: {error}") from error
