"""The reports controller: from what admission and scans found to one report per object."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from kymograph.clients.kubernetes import informer
from kymograph.controllers import policies, redaction
from kymograph.controllers.reports import (
    confirmation,
    findings,
    forms,
    intake,
    kinds,
    permissions,
    queue,
    reported,
    standing,
    writer,
)
from kymograph.controllers.reports.findings import Findings
from kymograph.engine import exceptions
from kymograph.engine.evaluate import PolicyResult, RuleResult
from kymograph.engine.policy import CompiledPolicy
from kymograph.telemetry.instruments import breakers
from kymograph.telemetry.providers import Telemetry
from kymograph.telemetry.sampling import Decision

MOST_OF_SCANS = 512
"""Objects that may wait to be written before a scan pauses: it holds what policies found in each of them."""

MOST_AT_ALL = 2 * MOST_OF_SCANS
"""Objects that may wait before background work pauses, too; a scan leaves it that much room."""

LOOK_AGAIN = 1.0
"""Seconds between two looks at whether reports can be written at all, while there is no room for another."""

_POLL = 0.05


class Cluster(writer.Cluster, informer.Source, reported.Lister, Protocol):
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
        form: The API that reports are written in.
        at_hand: What is known without asking anybody.

    Attributes:
        form: As given.
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
        form: forms.Form = forms.POLICY_REPORTS,
        at_hand: confirmation.AtHand = confirmation.nothing,
    ) -> None:
        self.form = form
        instruments = telemetry.instruments

        def seconds() -> float:
            return clock() / 1e9

        self._wall_clock = wall_clock
        work = telemetry.work("resource-report-controller")
        self._work = queue.WorkQueue(work.waited)
        work.queue(lambda: self._work.depth + len(self._intake))
        dropped = instruments.report_reviews_dropped.bind(()).add

        def hidden() -> redaction.Paths:
            return telemetry.redacted_paths

        self._dropped = dropped
        self._intake = intake.Intake(clock, wall_clock, dropped, telemetry.decision_link, hidden)
        circuit = (breakers.ADMISSION_REPORTS,)
        instruments.breaker.observe(lambda: [(circuit, self._intake.offered)])
        instruments.breaker_drops.observe(lambda: [(circuit, self._intake.refused)])
        self.reported = reported.ReportedPolicies(store, client, self._work, form, telemetry.tracer_for("reports"))
        self._standing = standing.StandingResults(client, self.reported, form, instruments)
        self.permitted = permissions.Permissions(seconds)
        self._writer = writer.ReportWriter(
            client,
            kinds.Kinds(catalogues, seconds),
            self.permitted,
            self._work,
            self.reported,
            confirmation.Confirmation(client, store, clock, excepted, at_hand, hidden),
            telemetry.tracer_for("reports"),
            lambda outcome: instruments.report_updates.bind((outcome.value,)).add(),
            work,
            form,
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

    def mutated(
        self,
        request: Mapping[str, Any],
        made: Mapping[str, Any],
        evaluated: Sequence[CompiledPolicy],
        results: Sequence[PolicyResult],
        decision: Decision,
    ) -> None:
        """Policies changed the object of a review; see `intake.Intake.mutated`. As fast as `decided`."""
        self._intake.mutated(request, made, evaluated, results, decision)

    async def applied(
        self, request: Mapping[str, Any], policy: CompiledPolicy, rule: str, told: Sequence[RuleResult]
    ) -> asyncio.Event | None:
        """A rule was applied in the background, because of an object that was just read: waits while much waits.

        While nothing can be written nobody waits; what there is no room for is dropped then, and counted.

        Args:
            request: A request about the object, as it is stored.
            policy: The policy.
            rule: Name of its rule, which generates, or mutates targets.
            told: What to say of it; empty where it has nothing to say of the object (any more).

        Returns:
            What is set once the report says so, or could not be written at once; None where there is no report.
        """
        subject = findings.subject_of(request)
        metadata = (request.get("object") or {}).get("metadata") or {}
        if subject is None or writer.DISABLED in (metadata.get("labels") or {}):
            return None
        result = PolicyResult(policy, policy.fixed_action, tuple(told)) if told else None
        found = findings.Found(result, self._wall_clock())
        if not await self._has_room():
            self._dropped()
            return None
        latest = {findings.of_rule(policy.key, rule): found}
        return self._work.put(Findings(subject, latest=latest, proven=True), awaited=True)

    async def _has_room(self) -> bool:
        """Wait for room for background work; False where there will be none until reports can be written again."""
        while not (self._writer.blocked and self._work.depth >= MOST_AT_ALL):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN):
                    await self._work.room(MOST_AT_ALL)
                    return True
        return False

    def found(self, found: Findings) -> None:
        """Policies were evaluated on an object otherwise, by a scan; ask for `room` before."""
        self._work.put(found)

    async def room(self) -> None:
        """Wait while much is still to be written."""
        await self._work.room(MOST_OF_SCANS)

    async def run(self) -> None:
        """Write what this replica's reviews found until cancelled: no other replica knows of it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._intake.pass_on(self._work))
            tasks.create_task(self._writer.run())

    async def sweep(self) -> None:
        """Keep reports free of policies that are gone, and count what they say, until cancelled.

        One replica does it; `run` has to run too.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.reported.sweep())
            tasks.create_task(self._standing.run())

    async def drain(self, patience: float) -> None:
        """Before a stop: let what waits be written, for so many seconds at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while len(self._intake) or not self._work.idle:  # noqa: ASYNC110  # two queues, looked at once in a process's life
                    await asyncio.sleep(_POLL)
