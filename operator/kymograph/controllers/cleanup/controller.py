"""The two parts of the cleanup controller, put together: labels that say when an object goes, policies that say which.

The leader's work. Two leaders for a moment do no harm: deletes name what was seen, statuses what was read.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import discovery
from kymograph.controllers.cleanup import clock as clocks
from kymograph.controllers.cleanup import deletions, notes, runs, schedule, selection, spared, ttl, watches
from kymograph.controllers.cleanup import policies as cleanup_policies
from kymograph.controllers.events import notes as events
from kymograph.engine import cleanup as engine
from kymograph.telemetry import work
from kymograph.telemetry.instruments import labels
from kymograph.telemetry.providers import Telemetry


class TTLController:
    """Deletes objects as their label `cleanup.kyverno.io/ttl` asks.

    Args:
        client: Calls the API server with the operator's identity.
        catalogues: What the API server serves.
        telemetry: Where deletions are traced and counted.
        clock: When is now.
        spare: What is not deleted.
        tell: Writes an Event.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        catalogues: discovery.Catalogues,
        telemetry: Telemetry,
        clock: clocks.Clock,
        spare: spared.Spared,
        tell: Callable[[events.Note], None],
    ) -> None:
        def announce(target: deletions.Target, labelled: ttl.Labelled, problem: str) -> None:
            tell(notes.of_label(target, labelled, problem))

        tracer = telemetry.tracer_for("cleanup")
        self._deletions = deletions.Deletions(
            client,
            tracer,
            telemetry.instruments,
            clock,
            spare,
            self.look_again,
            announce,
            lambda: telemetry.redacted_paths,
        )
        counted = work.Work(telemetry.instruments, "ttl-controller-manager")
        self._watches = watches.Watches(client, catalogues, tracer, clock, self._deletions.changed, counted)
        self._info = telemetry.instruments.ttl_info

    @property
    def backlog(self) -> schedule.Backlog:
        """The objects that are due and not deleted; may be asked from any thread."""
        return self._deletions.backlog

    def look_again(self) -> None:
        """Kinds or rights may have changed: find out soon what may be cleaned up."""
        self._watches.look_again()

    async def run(self) -> None:
        """Clean up until cancelled."""
        self._info.observe(self._watched)
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._watches.run())
                parts.create_task(self._deletions.run())
        finally:
            self._info.observe(tuple)

    def _watched(self) -> Iterable[labels.Watched]:
        return [labels.Watched(each.group, each.version, each.plural) for each in self._watches.watched]


class Cleanup:
    """All of it, for one time of leading.

    Args:
        client: Calls the API server with the operator's identity.
        catalogues: What the API server serves.
        facts: Knows what policies ask for.
        telemetry: Where runs and deletions are traced and counted.
        clock: When is now.
        spare: What is not deleted.
        tell: Writes an Event.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        catalogues: discovery.Catalogues,
        facts: selection.Facts,
        telemetry: Telemetry,
        clock: clocks.Clock,
        spare: spared.Spared,
        tell: Callable[[events.Note], None],
    ) -> None:
        def announce(policy: engine.CleanupPolicy, candidate: selection.Candidate, problem: str) -> None:
            tell(notes.of_deletion(policy, candidate, problem))

        choosing = selection.Selection(client, facts, spare, time.monotonic_ns, lambda: telemetry.redacted_paths)
        tracer = telemetry.tracer_for("cleanup")
        self._labels = TTLController(client, catalogues, telemetry, clock, spare, tell)
        self._runs = runs.Runs(client, catalogues, choosing, tracer, telemetry.instruments, clock, announce)
        self._policies = cleanup_policies.CleanupPolicies(client, self._runs, clock, tracer)

    @property
    def backlogs(self) -> Mapping[str, schedule.Backlog]:
        """What waits, by queue: `labels` objects that are due, `policies` that are, `deletions` that these chose."""
        return {
            "labels": self._labels.backlog,
            "policies": self._policies.backlog,
            "deletions": self._runs.backlog,
        }

    def look_again(self) -> None:
        """Kinds or rights may have changed."""
        self._labels.look_again()

    async def run(self) -> None:
        """Clean up until cancelled."""
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._labels.run())
            parts.create_task(self._policies.run())
