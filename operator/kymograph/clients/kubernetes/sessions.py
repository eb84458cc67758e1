"""The HTTP session of an identity: its token goes to the API server, and to no other server."""

import aiohttp
import yarl

from kymograph.clients.kubernetes import connection as connections
from kymograph.clients.kubernetes import tracing
from kymograph.telemetry.current import ClientSpans


def begin(connection: connections.Connection, spans: ClientSpans | None = None) -> aiohttp.ClientSession:
    """A session that speaks to the API server as the connection's identity, with the token of the moment.

    The token is sent to no other server, wherever a redirect may lead.

    Args:
        connection: Where and as whom.
        spans: Opens a span for each request, for a library that knows nothing of spans; None for nobody.
    """
    middlewares: tuple[aiohttp.ClientMiddlewareType, ...] = (_authorizing(connection),)
    if spans is not None:
        middlewares = (tracing.traced(spans, yarl.URL(connection.server)), *middlewares)
    connector = aiohttp.TCPConnector(limit=0, ssl=connection.tls if connection.tls is not None else False)
    made = aiohttp.ClientSession(connector=connector, read_bufsize=2**18, middlewares=middlewares)
    made.headers["User-Agent"] = "kymograph"
    return made


def _authorizing(connection: connections.Connection) -> aiohttp.ClientMiddlewareType:
    server = yarl.URL(connection.server).origin()

    async def authorize(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        token = connection.token() if request.url.origin() == server else None
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return await handler(request)

    return authorize
