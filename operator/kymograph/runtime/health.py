"""Liveness and readiness over HTTP, for the kubelet.

Alive: the event loop turns. Ready: everything that a request needs is there; each missing part is named. On the way
out readiness fails first, so that no new request comes while the last ones are answered.
"""

import asyncio
import contextvars
import ssl
from collections.abc import Callable

from aiohttp import web

from kymograph.runtime import errors


class Health:
    """The state that probes ask for.

    Attributes:
        stopping: Set when the process is on its way out.
    """

    def __init__(self) -> None:
        self._conditions: dict[str, Callable[[], bool]] = {}
        self.stopping = False

    def require(self, name: str, condition: Callable[[], bool]) -> None:
        """Be ready only when the condition holds."""
        self._conditions[name] = condition

    def missing(self) -> list[str]:
        """What keeps the process from being ready; empty when it is."""
        missing = [name for name, condition in self._conditions.items() if not condition()]
        return [*missing, "stopping"] if self.stopping else missing


async def serve(health: Health, port: int) -> web.AppRunner:
    """Serve /livez and /readyz; the caller cleans the runner up.

    Raises:
        PortTaken: Another process listens on the port.
    """

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = health.missing()
        if missing:
            return web.Response(status=503, text="".join(f"not ready: {name}\n" for name in missing))
        return web.Response(text="ok\n")

    application = web.Application()
    application.router.add_get("/livez", livez)
    application.router.add_get("/readyz", readyz)
    return await listen(application, port)


async def listen(
    application: web.Application, port: int, host: str | None = None, tls: ssl.SSLContext | None = None
) -> web.AppRunner:
    """Serve a small application on an address, or on all, in plain HTTP or over TLS.

    Raises:
        PortTaken: Another process listens on the port.
    """
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    try:  # requests are served in the context in which this begins: not in that of the work that happens to ask for it
        await asyncio.create_task(site.start(), context=contextvars.Context())
    except OSError as error:
        await runner.cleanup()
        raise errors.PortTaken(f"port {port}: {error.strerror or error}") from error
    return runner
