"""Runs Kopf within the process: its watches, and its handlers as the webhook server's entry points."""

import asyncio
from typing import Any

import kopf

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import connection, sessions
from kymograph.runtime import lifecycle
from kymograph.telemetry.current import ClientSpans

RETRIES = (0.2, 0.5, 1.0, 1.0, 2.0, 2.0, *(5.0,) * 1000)
"""Seconds between Kopf's tries when the API server does not answer. It gives up for good when they are used up; by
default that is after a minute, and the waits before grow so long that it would notice a recovery late."""


async def run(
    registry: kopf.OperatorRegistry,
    connected: connection.Connection,
    spans: ClientSpans,
    stop: lifecycle.Stop,
    seam: kopf.WebhookServerProtocol | None,
) -> None:
    """Run Kopf until the stop is done.

    Args:
        registry: The handlers.
        connected: How the API server is reached.
        spans: Opens the spans of Kopf's calls.
        stop: Ends it; listens to signals again once Kopf has taken them.
        seam: What Kopf takes for its webhook server; None where nothing is admitted.
    """
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.networking.error_backoffs = RETRIES
    settings.watching.chunk_size = clients.PAGE_SIZE
    settings.admission.managed = None
    settings.admission.server = seam

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(server=connected.server, aiohttp_session=sessions.begin(connected, spans))

    ours = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=settings,
        clusterwide=True,
        standalone=True,
        stop_flag=stop.done,
    )
    stop.listen()  # Kopf has just taken the signals; a stop begins with our draining
    await kopf.run_tasks(tasks, ignored=ours)
