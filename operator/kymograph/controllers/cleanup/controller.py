"""The two parts of the cleanup controller, put together: labels that say when an object goes, policies that say which.

Safe to run in several replicas: of two deletes of the same object, one finds it gone.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import discovery
from kymograph.controllers.cleanup import clock as clocks
from kymograph.controllers.cleanup import deletions, notes, runs, selection, watches
from kymograph.controllers.cleanup import policies as cleanup_policies
from kymograph.controllers.events import notes as events
from kymograph.engine import cleanup as engine
from kymograph.telemetry.instruments import labels
from kymograph.telemetry.providers import Telemetry


class TTLController:
    """Deletes objects as their label `cleanup.kyverno.io/ttl` asks.

    Args:
        client: Calls the API server with the operator's identity.
        catalogues: What the API server serves.
        telemetry: Where deletions are traced and counted.
        clock: When is now.
        namespace: The operator's own namespace, where nothing is deleted.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        catalogues: discovery.Catalogues,
        telemetry: Telemetry,
        clock: clocks.Clock,
        namespace: str,
    ) -> None:
        tracer = telemetry.tracer_for("cleanup")
        self._deletions = deletions.Deletions(client, tracer, telemetry.instruments, clock, namespace, self.look_again)
        self._watches = watches.Watches(client, catalogues, tracer, clock, self._deletions.changed)
        telemetry.instruments.ttl_info.observe(self._watched)

    def look_again(self) -> None:
        """Kinds or rights may have changed: find out soon what may be cleaned up."""
        self._watches.look_again()

    async def run(self) -> None:
        """Clean up until cancelled."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._watches.run())
            parts.create_task(self._deletions.run())

    def _watched(self) -> Iterable[labels.Watched]:
        return [labels.Watched(each.group, each.version, each.plural) for each in self._watches.watched]


def policies(
    client: clients.KubernetesClient,
    catalogues: discovery.Catalogues,
    facts: selection.Facts,
    telemetry: Telemetry,
    clock: clocks.Clock,
    namespace: str,
    tell: Callable[[events.Note], None],
) -> cleanup_policies.CleanupPolicies:
    """What runs cleanup policies.

    Args:
        client: Calls the API server with the operator's identity.
        catalogues: What the API server serves.
        facts: Knows what policies ask for.
        telemetry: Where runs are traced and deletions counted.
        clock: When is now.
        namespace: The operator's own namespace, where nothing is deleted.
        tell: Writes an Event.
    """

    def announce(policy: engine.CleanupPolicy, candidate: selection.Candidate, problem: str) -> None:
        tell(notes.of_deletion(policy, candidate, problem))

    choosing = selection.Selection(client, facts, namespace, time.monotonic_ns)
    tracer = telemetry.tracer_for("cleanup")
    running = runs.Runs(client, catalogues, choosing, tracer, telemetry.instruments, clock, announce)
    return cleanup_policies.CleanupPolicies(client, running, clock)
