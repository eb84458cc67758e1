"""API servers are told of the webhooks: first how to reach us, and what may block a request once they have shown it."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Sequence

from opentelemetry.trace import SpanContext

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import discovery
from kymograph.controllers import policies
from kymograph.controllers.admission import reachability, registration
from kymograph.runtime import configured
from kymograph.telemetry.providers import Telemetry


class Announcing:
    """What the leader does about webhook configurations.

    Args:
        client: Writes them.
        untraced: Writes the Lease, every few seconds for good.
        store: The policies.
        catalogues: What the API server serves.
        telemetry: Where writes are traced.
        configuration: What the installation wants.
        namespace: The operator's own namespace.
        identity: Who we are.
        compilations: The spans of the policies compiled since this was asked for the last time.
        now: The time.

    Attributes:
        registration: Writes webhook configurations.
        reachability: Has API servers show that they reach us.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        untraced: clients.KubernetesClient,
        store: policies.PolicyStore,
        catalogues: discovery.Catalogues,
        telemetry: Telemetry,
        configuration: configured.Configured,
        namespace: str,
        identity: str,
        compilations: Callable[[], Sequence[SpanContext]],
        now: Callable[[], dt.datetime],
    ) -> None:
        self.reachability = reachability.Reachability(
            untraced,
            namespace,
            configuration.names,
            identity,
            lambda: now().isoformat(timespec="microseconds").replace("+00:00", "Z"),
            time.monotonic,
        )
        self.registration = registration.Registration(
            client, store, catalogues, telemetry, configuration.wishes, lambda: self.reachability.reached, compilations
        )
        self.reachability.listen(self.registration.look_again)
        configuration.store.listen(self.registration.look_again)

    async def run(self) -> None:
        """Keep API servers informed until cancelled."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self.registration.run())
            await self.registration.introduced()
            parts.create_task(self.reachability.run())
