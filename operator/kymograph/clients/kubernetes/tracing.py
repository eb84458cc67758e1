"""What the spans of calls to the API server say, and the spans of calls that a library makes on a session of ours.

Neither query strings, which hold selectors and tokens of lists, nor header fields nor bodies are said.
"""

from collections.abc import Mapping

import aiohttp
import yarl

from kymograph.clients.kubernetes import paths
from kymograph.telemetry import semconv
from kymograph.telemetry.current import ClientSpans

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NOT_FOUND = 404


def attributes(method: str, url: yarl.URL, target: paths.Target, kind: str, verb: str) -> Mapping[str, str | int]:
    """What is known of a call before it is made.

    Args:
        method: The HTTP method.
        url: Where; its query and fragment are left out.
        target: What the path is about.
        kind: The kind of the objects, or their resource where the kind is not known.
        verb: The verb, as of RBAC.
    """
    known: dict[str, str | int] = {
        semconv.KUBE_CLIENT_GROUP: target.group,
        semconv.KUBE_CLIENT_KIND: kind,
        semconv.KUBE_CLIENT_NAMESPACE: target.namespace,
        semconv.KUBE_CLIENT_OPERATION: verb,
        semconv.HTTP_REQUEST_METHOD: method,
        semconv.SERVER_ADDRESS: url.host or "",
        semconv.SERVER_PORT: url.port or 0,
        semconv.URL_FULL: str(url.with_user(None).with_query(None).with_fragment(None)),
    }
    if target.template:
        known[semconv.URL_TEMPLATE] = target.template
    return known


def traced(spans: ClientSpans, server: yarl.URL) -> aiohttp.ClientMiddlewareType:
    """Opens a span for each request of a session; that of a watch ends when its events begin.

    Args:
        spans: Opens them.
        server: The API server. Only it is told the trace context, and of other requests there is no span.
    """
    origin, prefix = server.origin(), server.raw_path.rstrip("/")

    async def trace(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        url = request.url
        if url.origin() != origin:
            return await handler(request)
        target = paths.of(url.raw_path.removeprefix(prefix))
        verb = _VERBS.get(request.method) or _reading(url, target)
        said = attributes(request.method, url, target, target.plural, verb)
        with spans.start(f"KUBE {verb} {target.plural or 'path'}", said) as span:
            request.headers.update(span.headers)
            response = await handler(request)
            span.set_status(response.status, expected=response.status == _NOT_FOUND)
            return response

    return trace


def _reading(url: yarl.URL, target: paths.Target) -> str:
    if url.query.get("watch") in ("true", "1"):
        return "watch"
    return "get" if target.name or not target.plural else "list"
