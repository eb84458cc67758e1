"""Puts together what the contexts of policies reach: services, registries, the API server and global entries.

A part of `assemble`, with everything that a flag says about it.
"""

import datetime as dt
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from kymograph.clients.http import guard, services, token, transport
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import discovery, errors, resources
from kymograph.clients.registry import client as registry
from kymograph.controllers.admission import facts
from kymograph.controllers.events import notes
from kymograph.controllers.globalcontext import definition, metrics, status, store
from kymograph.runtime.settings import Settings
from kymograph.telemetry.providers import Telemetry


class Outside:
    """What contexts of policies reach.

    Args:
        settings: What the process was started with.
        namespace: The operator's own namespace, where pull secrets are.
        client: Calls the API server.
        catalogues: What it serves.
        telemetry: Where spans go.
        now: The time of what is written into statuses.
        tell: Makes Events of what GlobalContextEntries fail with.

    Attributes:
        facts: Answers the needs of contexts.
        status: Writes what became of GlobalContextEntries; for the leader.
    """

    def __init__(
        self,
        settings: Settings,
        namespace: str,
        client: clients.KubernetesClient,
        catalogues: discovery.Catalogues,
        telemetry: Telemetry,
        now: Callable[[], dt.datetime],
        tell: Callable[[notes.Note], None],
    ) -> None:
        self._carrier = transport.Transport(guard.Trusted(settings.service_call_trusted))
        limit = settings.max_api_call_response_length
        shown = token.Token(settings.service_call_token_file, settings.service_call_token_namespaces)
        called = services.Services(self._carrier, telemetry.client_spans, limit, shown)
        calls = facts.Calls(client, called, limit)
        self._entries = store.GlobalContext(client, catalogues, calls, telemetry.tracer_for("background"))
        metrics.ContextMetrics(telemetry.instruments, self._entries, now)
        self.status = status.StatusWriter(client, self._entries, telemetry, now, tell)
        self._config_maps = facts.config_maps(client)

        async def secret(name: str) -> Mapping[str, Any] | None:
            try:
                return await client.get(resources.SECRETS, name, namespace=namespace)
            except errors.NotFound:
                return None

        registries = registry.Registries(
            self._carrier,
            telemetry.client_spans,
            secret,
            pull_secrets=settings.image_pull_secrets,
            insecure=settings.allow_insecure_registry,
        )
        kept = registries.kept
        telemetry.instruments.registry_cache.observe(lambda: [(("hit",), kept.hits), (("miss",), kept.misses)])
        self.facts = facts.ContextFacts(client, self._config_maps, calls, registries, self._entries)

    @property
    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run all the time."""
        return [self._config_maps.run(), self._entries.run()]

    async def close(self) -> None:
        """Close the connections to services and registries."""
        await self._carrier.close()


def check_entry(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Look at a GlobalContextEntry before it is written.

    Raises:
        PolicyInvalid: It cannot be kept as it is written.
    """
    definition.read(document)
    return ()
