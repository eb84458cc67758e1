"""Serves /metrics to Prometheus, on the port that the TracingConfiguration names, moved live."""

import asyncio
import logging

from aiohttp import web

from kymograph.runtime import health
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)


class MetricServer:
    """The pull side of the metrics.

    Args:
        telemetry: Whose metrics.
        host: The address they are served on; None for all.
    """

    def __init__(self, telemetry: Telemetry, host: str | None = None) -> None:
        self._telemetry = telemetry
        self._host = host
        self._runner: web.AppRunner | None = None
        self._port: int | None = None

    @property
    def port(self) -> int | None:
        """The port that metrics are served on; None where they are not."""
        return self._port

    async def serve(self, port: int | None) -> None:
        """Serve on a port from now on; None serves nowhere.

        Raises:
            PortTaken: The port cannot be listened on; the one before stays in use.
        """
        if port == self._port:
            return
        before = self._runner
        self._runner = None if port is None else await self._start(port)
        self._port = port
        if before is not None:
            await before.cleanup()

    async def _start(self, port: int) -> web.AppRunner:
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        runner = await health.listen(application, port, self._host)
        logger.info("Metrics are served on port %d", port)
        return runner

    async def _metrics(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        body, content_type = await asyncio.to_thread(self._telemetry.prometheus.render, accept)
        return web.Response(body=body, headers={"Content-Type": content_type})
