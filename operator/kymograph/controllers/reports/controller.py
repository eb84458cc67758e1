"""The reports controller: from what admission and scans found to one report per object."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kymograph.controllers import policies
from kymograph.controllers.reports import confirmation, intake, kinds, permissions, queue, reported, writer
from kymograph.controllers.reports.findings import Findings
from kymograph.engine import exceptions
from kymograph.engine.evaluate import PolicyResult
from kymograph.engine.policy import CompiledPolicy
from kymograph.telemetry.providers import Telemetry
from kymograph.telemetry.sampling import Decision

MOST_OF_SCANS = 512
"""Objects that may wait to be written before a scan pauses: it holds what policies found in each of them."""

_POLL = 0.05


class Cluster(writer.Cluster, reported.Lister, Protocol):
    """What the controller asks of a Kubernetes client."""


class Reports:
    """Keeps the reports true.

    Args:
        client: Reads objects, writes reports.
        catalogues: What the API server serves.
        store: The policies.
        telemetry: Where each write is traced and counted.
        clock: Monotonic nanoseconds.
        wall_clock: Nanoseconds since the epoch.
        excepted: Gives the PolicyExceptions of the moment.

    Attributes:
        reported: Which policies and rules are reported on.
        permitted: Which resources may be read.
    """

    def __init__(
        self,
        client: Cluster,
        catalogues: kinds.Catalogues,
        store: policies.PolicyStore,
        telemetry: Telemetry,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        excepted: Callable[[], exceptions.Exceptions] = lambda: exceptions.NONE,
    ) -> None:
        instruments = telemetry.instruments

        def seconds() -> float:
            return clock() / 1e9

        self._work = queue.WorkQueue()
        self._intake = intake.Intake(clock, wall_clock, instruments.report_reviews_dropped.bind(()).add)
        self.reported = reported.ReportedPolicies(store, client, self._work)
        self.permitted = permissions.Permissions(seconds)
        self._writer = writer.ReportWriter(
            client,
            kinds.Kinds(catalogues, seconds),
            self.permitted,
            self._work,
            self.reported,
            confirmation.Confirmation(client, store, clock, excepted),
            telemetry.tracer_for("reports"),
            lambda outcome: instruments.report_updates.bind((outcome.value,)).add(),
        )

    def decided(
        self,
        request: Mapping[str, Any],
        evaluated: Sequence[CompiledPolicy],
        results: Sequence[PolicyResult],
        decision: Decision,
    ) -> None:
        """A review was allowed; see `intake.Intake.decided`. For the hot path: two microseconds, nothing raised."""
        self._intake.decided(request, evaluated, results, decision)

    async def found(self, findings: Findings) -> None:
        """Policies were evaluated on an object otherwise, by a scan: waits while much waits already."""
        await self._work.room(MOST_OF_SCANS)
        self._work.put(findings)

    async def run(self) -> None:
        """Write what this replica's reviews found until cancelled: no other replica knows of it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._intake.pass_on(self._work))
            tasks.create_task(self._writer.run())

    async def sweep(self) -> None:
        """Keep reports free of policies that are gone, until cancelled. One replica is enough; `run` has to run too."""
        await self.reported.sweep()

    async def drain(self, patience: float) -> None:
        """Before a stop: let what waits be written, for so many seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while len(self._intake) or not self._work.idle:  # noqa: ASYNC110  # two queues, looked at once in a process's life
                    await asyncio.sleep(_POLL)
