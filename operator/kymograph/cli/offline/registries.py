"""Images looked up in registries for commands that run without an operator: anonymously, each image once a process.

Imported only where somebody asks for it: the client brings an event loop and TLS with it.
"""

import asyncio
import time
from typing import Any

from opentelemetry.trace import NoOpTracer

from kymograph.cli.offline import simulated
from kymograph.clients.http import errors as http_errors
from kymograph.clients.http import guard, transport
from kymograph.clients.registry import client, errors
from kymograph.engine import needs
from kymograph.telemetry import current

_known: dict[needs.ImageData, dict[str, Any] | str] = {}


def look_up(need: needs.ImageData) -> dict[str, Any]:
    """What a registry holds under a reference.

    Raises:
        NotThere: It could not be looked up; the message says why.
    """
    if need not in _known:
        try:
            _known[need] = asyncio.run(_image(need))
        except (errors.RegistryError, http_errors.CallError, TimeoutError, OSError) as error:
            _known[need] = str(error)
    found = _known[need]
    if isinstance(found, str):
        raise simulated.NotThere(found)
    return found


async def _image(need: needs.ImageData) -> dict[str, Any]:
    carrier = transport.Transport(guard.Trusted())
    try:
        spans = current.ClientSpans(NoOpTracer(), time.monotonic_ns)
        return await client.Registries(carrier, spans, _no_secret).image(need)
    finally:
        await carrier.close()


async def _no_secret(_name: str) -> None:
    """There are no Secrets without a cluster."""
