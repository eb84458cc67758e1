"""Scans as a part of the process: what lasts as long as it, and the work of the replica that leads."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from kymograph.controllers import policies, policytraces, steptraces
from kymograph.controllers.events import notes, telling
from kymograph.controllers.reports import controller, findings
from kymograph.controllers.reports.scans import changes, examining, judging, policystatus, scanner, tracing
from kymograph.controllers.reports.scans.metrics import ScanMetrics
from kymograph.controllers.reports.scans.progress import Progress, Writer
from kymograph.engine import evaluate, exceptions
from kymograph.telemetry.providers import Telemetry


class Cluster(scanner.Cluster, Writer, policystatus.Merger, Protocol):
    """What scans ask of a Kubernetes client."""


class Scans:
    """Scans while this replica leads.

    Args:
        client: Lists, watches and reads objects; writes how far scans are.
        catalogues: What the API server serves.
        store: The policies.
        reports: Writes what is found.
        facts: Knows the cluster.
        excepted: Gives the PolicyExceptions of the moment.
        told: Makes Events of what is news.
        telemetry: Where scans are traced and counted.
        describe: Names the steps of an evaluation in traces.
        clock: Monotonic nanoseconds.
        wall_clock: Nanoseconds since the epoch.
        namespace: The operator's namespace.
        interval: Seconds between two scans of everything.
        left_out: Which objects no policy is for.
        compilations: The spans of the compilations of policies, which scans are linked to.

    Attributes:
        changes: Is to be told of changed exceptions, kinds and labels of namespaces.
    """

    def __init__(
        self,
        client: Cluster,
        catalogues: scanner.Catalogues,
        store: policies.PolicyStore,
        reports: controller.Reports,
        facts: judging.Facts,
        excepted: Callable[[], exceptions.Exceptions],
        told: telling.Telling,
        telemetry: Telemetry,
        describe: steptraces.Describe,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        namespace: str,
        interval: float,
        left_out: Callable[[findings.Subject], bool],
        compilations: policytraces.Compilations,
    ) -> None:
        self.changes = changes.Changes(store, excepted)
        self._scanner: scanner.Scanner | None = None
        metrics = ScanMetrics(telemetry.instruments, store)
        tracer = telemetry.tracer_for("reports")
        traces = tracing.Traces(tracer, describe, clock, wall_clock, compilations.of_keys)

        def now() -> dt.datetime:
            return dt.datetime.fromtimestamp(wall_clock() / 1e9, dt.UTC)

        def news(subject: findings.Subject, results: Sequence[evaluate.PolicyResult]) -> None:
            about = notes.Reference(subject.api_version, subject.kind, subject.namespace, subject.name, subject.uid)
            told.scanned(about, results)

        def means() -> scanner.Means:
            return scanner.Means(
                client=client,
                catalogues=catalogues,
                store=store,
                changes=self.changes,
                examiner=examining.Examiner(
                    judging.Judge(facts, clock, excepted),
                    reports.found,
                    metrics,
                    news,
                    traces,
                    left_out,
                    lambda: telemetry.redacted_paths,
                ),
                put=reports.found,
                room=reports.room,
                form=reports.form,
                reported=reports.reported,
                permitted=reports.permitted,
                metrics=metrics,
                progress=Progress(client, namespace, now, lambda: clock() / 1e9, tracer),
                statuses=policystatus.PolicyScans(client, store, now, tracer, compilations.of),
                traces=traces,
                clock=clock,
                wall_clock=wall_clock,
                interval=interval,
            )

        self._means = means
        self._work = metrics.work
        self._work.queue(self._depth, led=True)
        telemetry.instruments.scan_lag.observe(self._lag)

    async def run(self) -> None:
        """Scan until cancelled, from the beginning: nobody knows what the leader before has seen."""
        self._scanner = scanner.Scanner(self._means())
        try:
            with self._work.attending():
                await self._scanner.run()
        finally:
            self._scanner = None

    def _depth(self) -> int:
        """Read by the threads that collect, while leading may end."""
        scanning = self._scanner
        return 0 if scanning is None else scanning.depth

    def _lag(self) -> Iterable[tuple[tuple[()], float]]:
        """As `_depth`."""
        scanning = self._scanner
        return () if scanning is None else [((), scanning.lag)]
