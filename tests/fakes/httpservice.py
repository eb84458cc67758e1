"""An HTTP or HTTPS server on a real socket of loopback, that does what a test wants."""

import contextlib
import pathlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from kymograph.keypairs import issuing
from kymograph.localcluster import pki


class Service:
    """What a server on loopback does. `answer` is what it does with the next requests.

    Attributes:
        requests: What came, oldest first.
        bodies: Their bodies.
        port: Where it listens.
    """

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self.answer: Any = self._fine

    async def _fine(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"fine": True})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        self.requests.append(request)
        self.bodies.append(await request.read())
        answered: web.StreamResponse = await self.answer(request)
        return answered

    def says(self, **response: Any) -> None:
        """Answer every request with this."""

        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(**response)

        self.answer = answer

    def redirects(self, target: str, status: int = 302) -> None:
        """Redirect every request but those to `/end`."""

        async def answer(request: web.Request) -> web.StreamResponse:
            if request.path == "/end":
                return web.json_response("arrived")
            return web.Response(status=status, headers={"Location": target})

        self.answer = answer

    def url(self, path: str = "/", host: str = "service.shop.svc") -> str:
        """How it is called under a name."""
        return f"http://{host}:{self.port}{path}"


@contextlib.asynccontextmanager
async def served(tls: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    """A server, until the block is left."""
    made = Service()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        made.port = runner.addresses[0][1]
        yield made
    finally:
        await runner.cleanup()


def server_context(pair: issuing.KeyPair, directory: pathlib.Path) -> ssl.SSLContext:
    """What a server with a certificate speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.write(pair, directory, "server"))
    return context
