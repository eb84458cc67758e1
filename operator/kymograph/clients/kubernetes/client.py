"""The client of the API server: one aiohttp session, orjson both ways, a client span around every call.

Objects are plain dicts. The client retries nothing by itself: who calls knows whether a second try is harmless. It
follows no redirects. The span of a watch ends when its events begin; that there is no such object (404) is an answer,
not an error of the call.
"""

import datetime as dt
import email.utils
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import aiohttp
import orjson
import yarl

from kymograph.clients.kubernetes import answers, errors, paths, resources, sessions, tracing
from kymograph.clients.kubernetes import connection as connections
from kymograph.telemetry.current import ClientSpan, ClientSpans

FIELD_MANAGER = "kymograph"
"""Who owns the fields that the operator applies (server-side apply)."""

PAGE_SIZE = 100
"""Objects asked for at once: more would keep the event loop from a waiting review while they are decoded."""

CALL_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10)
WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_read=330)

_NOT_FOUND = 404
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_DRY_RUN = {"dryRun": "All"}
_JSON_PATCH = "application/json-patch+json"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


class KubernetesClient:
    """Calls the API server under one identity.

    Args:
        connection: Where and as whom.
        spans: Opens the span of each call.
    """

    def __init__(self, connection: connections.Connection, spans: ClientSpans) -> None:
        self._spans = spans
        self._base = yarl.URL(connection.server)
        self._session = sessions.begin(connection)
        self._answered: tuple[str, float] | None = None

    @property
    def server_time(self) -> dt.datetime | None:
        """The API server's clock: what its latest answer said (RFC 9110, 6.6.1), and the time that has passed since.

        None before the first answer. Whatever has to be valid in the API server's eyes is judged by this clock: ours
        may be wrong, or be set while we look.
        """
        if self._answered is None:
            return None
        said, at = self._answered
        try:
            moment = email.utils.parsedate_to_datetime(said)
        except ValueError:
            return None
        return moment.astimezone(dt.UTC) + dt.timedelta(seconds=time.monotonic() - at)

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
        return await self._call("GET", path, "get", resource, accept=_METADATA if metadata_only else _JSON)

    async def create(
        self,
        resource: resources.Resource,
        document: Mapping[str, Any],
        *,
        namespace: str = "",
        dry_run: bool = False,
        metadata_only: bool = False,
    ) -> dict[str, Any]:
        """Create an object, or only see whether that could be done; raises Conflict where it exists.

        Who needs no more than the `metadata_only` of what was made spares the API server and itself the rest.
        """
        path = resource.path(namespace=namespace)
        query = _DRY_RUN if dry_run else None
        accept = _METADATA if metadata_only else _JSON
        return await self._call("POST", path, "create", resource, body=document, query=query, accept=accept)

    async def update(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = "", subresource: str = ""
    ) -> dict[str, Any]:
        """Replace an object; raises Conflict where its resourceVersion is not the latest."""
        path = resource.path(namespace=namespace, name=document["metadata"]["name"], subresource=subresource)
        return await self._call("PUT", path, "update", resource, body=document)

    async def apply(
        self,
        resource: resources.Resource,
        document: Mapping[str, Any],
        *,
        namespace: str = "",
        subresource: str = "",
        dry_run: bool = False,
        field_manager: str = FIELD_MANAGER,
        metadata_only: bool = False,
    ) -> dict[str, Any]:
        """Apply the fields of a document as ours (server-side apply), taking them over where others set them.

        A dry run only shows what would become of the object. What a field manager applied before and leaves out is
        taken out. `metadata_only` is about the answer, as in `create`.
        """
        path = resource.path(namespace=namespace, name=document["metadata"]["name"], subresource=subresource)
        return await self._call(
            "PATCH",
            path,
            "apply",
            resource,
            body=document,
            content_type=_APPLY,
            accept=_METADATA if metadata_only else _JSON,
            query={"fieldManager": field_manager, "force": "true", **(_DRY_RUN if dry_run else {})},
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
        return await self._call("PATCH", path, "patch", resource, body=patch, content_type=_MERGE)

    async def patch(
        self,
        resource: resources.Resource,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Patch an object by a JSON patch (RFC 6902); a `test` that fails is a StatusError 422."""
        path = resource.path(namespace=namespace, name=name, subresource=subresource)
        return await self._call("PATCH", path, "patch", resource, body=operations, content_type=_JSON_PATCH)

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
        await self._call("DELETE", path, "delete", resource, body=body or None)

    async def pages(
        self,
        resource: resources.Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        snapshot: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection, as lists of at most `PAGE_SIZE` items.

        They are those of one moment, for as long as the API server remembers it: some five minutes, until etcd is
        compacted. Who takes longer is given the rest as it is by then (Kubernetes, "Retrieving large results sets in
        chunks"): what was there all the time is in the list, once; what came or went meanwhile may be or not be.

        Args:
            resource: The collection.
            namespace: Only objects of this namespace; empty is all.
            label_selector: Which of its objects.
            field_selector: The same, by fields.
            metadata_only: Ask for metadata only (PartialObjectMetadata).
            snapshot: Insist on one moment: for who goes on with a watch, which tells of nothing before it begins.

        Raises:
            Expired: The moment asked for is forgotten; start again.
            KubernetesError: Anything else went wrong.
        """
        query = {"limit": str(PAGE_SIZE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        accept = _METADATA_LIST if metadata_only else _JSON
        path = resource.path(namespace=namespace)
        resumed = ""
        while True:
            try:
                page = await self._call("GET", path, "list", resource, query=query, accept=accept)
            except errors.Expired as error:
                if snapshot or resumed or not error.resume:
                    raise
                query["continue"] = resumed = error.resume
                continue
            resumed = ""
            yield page
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def count(self, resource: resources.Resource, *, namespace: str = "") -> int:
        """How many objects there are: one is listed, with the number of the others."""
        path = resource.path(namespace=namespace)
        page = await self._call("GET", path, "list", resource, query={"limit": "1"}, accept=_METADATA_LIST)
        return len(page.get("items") or ()) + int(page["metadata"].get("remainingItemCount") or 0)

    async def read(self, path: str, *, accept: str = _JSON) -> dict[str, Any]:
        """A document at a path that is no resource, such as discovery."""
        return await self._call("GET", path, "get", None, accept=accept)

    async def request(self, path: str, *, limit: int, method: str = "GET", body: bytes = b"") -> Any:
        """What the API server answers to a path that somebody else wrote: any JSON.

        Args:
            path: An absolute path with its query.
            limit: The most bytes, decompressed, that the answer may have.
            method: `GET` or `POST`.
            body: The JSON to post; empty for none.

        Raises:
            PathInvalid: The path is none.
            AnswerTooLarge: The answer is larger than the limit.
            KubernetesError: Anything else went wrong.
        """
        relative, target = paths.read(path)
        url = self._base.with_path(self._base.raw_path.rstrip("/") + relative.raw_path, encoded=True)
        if relative.raw_query_string:
            url = yarl.URL(f"{url}?{relative.raw_query_string}", encoded=True)
        verb = "create" if method == "POST" else "get" if target.name else "list"
        attributes = tracing.attributes(method, url, target, target.plural, verb)
        with self._spans.start(f"KUBE {verb} {target.plural or 'path'}", attributes) as span:
            headers = {"Accept": _JSON, **span.headers}
            if body:
                headers["Content-Type"] = _JSON
            with answers.translated():
                async with self._session.request(
                    method, url, data=body or None, headers=headers, timeout=CALL_TIMEOUT, allow_redirects=False
                ) as response:
                    content = await answers.bounded(response, limit)
            span.set_status(response.status, expected=response.status == _NOT_FOUND)
            document = answers.decoded(content)
            if response.status >= 300:
                raise errors.from_status(response.status, document)
            if document is None and content.strip() != b"null":
                raise errors.AnswerInvalid(f"the answer to {method} {path} is no JSON")
            return document

    async def watch(
        self,
        resource: resources.Resource,
        resource_version: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
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
        if field_selector:
            query["fieldSelector"] = field_selector
        response = await self._open(resource, namespace, query, _METADATA if metadata_only else _JSON)
        with answers.translated():
            async with response:
                async for line in answers.lines(response):
                    event = answers.decoded(line)
                    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                        raise errors.AnswerInvalid("what was read from a watch is no event")
                    if event.get("type") == "ERROR":
                        status = event["object"]
                        raise errors.from_status(int(status.get("code") or 500), status)
                    yield event

    async def _open(
        self, resource: resources.Resource, namespace: str, query: Mapping[str, str], accept: str
    ) -> aiohttp.ClientResponse:
        """Begin a watch; the caller closes the answer, whose events are still to be read."""
        path = resource.path(namespace=namespace)
        url = self._url(path, query)
        with self._span("GET", url, path, "watch", resource) as span, answers.translated():
            response = await self._session.get(
                url,
                headers={"Accept": accept, **span.headers},
                timeout=WATCH_TIMEOUT,
                allow_redirects=False,
            )
            span.set_status(response.status, expected=response.status == _NOT_FOUND)
            if response.status == 200:
                return response
            async with response:
                raise errors.from_status(response.status, answers.decoded(await response.read()))

    async def _call(
        self,
        method: str,
        path: str,
        verb: str,
        resource: resources.Resource | None,
        *,
        body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        data = orjson.dumps(body) if body is not None else None
        url = self._url(path, query)
        with self._span(method, url, path, verb, resource) as span:
            headers = {"Accept": accept, **span.headers}
            if data is not None:
                headers["Content-Type"] = content_type
            with answers.translated():
                async with self._session.request(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    timeout=CALL_TIMEOUT,
                    allow_redirects=False,
                ) as response:
                    content = await response.read()
                    status = response.status
                    self._answered = response.headers.get("Date", ""), time.monotonic()
            span.set_status(status, expected=status == _NOT_FOUND)
            document = answers.decoded(content)
            if status >= 300:
                raise errors.from_status(status, document)
            if not isinstance(document, dict):
                raise errors.AnswerInvalid(f"the answer to {method} {path} is no JSON object")
            return document

    def _url(self, path: str, query: Mapping[str, str] | None) -> yarl.URL:
        url = self._base.with_path(self._base.raw_path.rstrip("/") + path, encoded=True)
        return url.with_query(query) if query else url

    def _span(
        self, method: str, url: yarl.URL, path: str, verb: str, resource: resources.Resource | None
    ) -> AbstractContextManager[ClientSpan]:
        attributes = tracing.attributes(method, url, paths.of(path), resource.kind if resource else "", verb)
        return self._spans.start(f"KUBE {verb} {resource.plural if resource else path}", attributes)
