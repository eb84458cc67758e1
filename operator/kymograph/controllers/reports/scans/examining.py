"""One object under some policies: what they say becomes findings for its report, unless it says so already."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from opentelemetry import trace

from kymograph.clients.kubernetes import resources
from kymograph.controllers import redaction
from kymograph.controllers.reports import confirmation, findings, writer
from kymograph.controllers.reports.scans import index as indexes
from kymograph.controllers.reports.scans import judging, tracing
from kymograph.controllers.reports.scans.metrics import ScanMetrics
from kymograph.engine import evaluate, needs, policyset
from kymograph.engine.policy import CompiledPolicy
from kymograph.telemetry import subject as subjects

logger = logging.getLogger(__name__)

NEWS, UNCHANGED, DISABLED = "news", "unchanged", "disabled"
"""What came of an object: its report is to be written, says it all, or must not be."""


class Found(Protocol):
    """Is told what policies said of an object in a scan; it returns at once."""

    def __call__(self, subject: findings.Subject, results: Sequence[evaluate.PolicyResult]) -> None:
        """This is news."""


class Task:
    """The policies that the objects of a resource are looked at for.

    Args:
        resource: The resource.
        policies: The policies that may concern its objects.
        gone: Keys of further policies, whose results the objects lose if they have any.
        at: When the scan began, in nanoseconds since the epoch.
    """

    def __init__(
        self, resource: resources.Resource, policies: Iterable[CompiledPolicy], gone: Iterable[str], at: int
    ) -> None:
        self.resource = resource
        self.policies = policyset.PolicySet(policies)
        self.at = at
        silent = findings.Found(None, at)
        self.silent = dict.fromkeys((*gone, *(each.key for each in self.policies.policies)), silent)


class Examiner:
    """Looks at objects.

    Args:
        judge: Applies policies.
        put: Hands findings to the writer.
        metrics: What is counted.
        told: Is told what is news.
        traces: Where evaluations are traced.
        left_out: Which objects no policy is for.
        hidden: Gives the fields of objects that nobody is told of.
    """

    def __init__(
        self,
        judge: judging.Judge,
        put: Callable[[findings.Findings], None],
        metrics: ScanMetrics,
        told: Found,
        traces: tracing.Traces,
        left_out: Callable[[findings.Subject], bool] = lambda _subject: False,
        hidden: redaction.Hidden = tuple,
    ) -> None:
        self._judge = judge
        self._put = put
        self._metrics = metrics
        self._told = told
        self._traces = traces
        self._left_out = left_out
        self._hidden = hidden

    async def examine(
        self,
        task: Task,
        stored: Mapping[str, Any],
        known: needs.Facts,
        reports: indexes.ReportIndex | None,
    ) -> str:
        """Ask the policies about an object.

        Args:
            task: The policies.
            stored: The object as it was just read, with apiVersion and kind.
            known: What is known of the world.
            reports: What reports say; None where only this one object is looked at, and its report is read.

        Returns:
            What came of it: `NEWS`, `UNCHANGED` or `DISABLED`.
        """
        metadata, resource = stored["metadata"], task.resource
        if metadata.get("deletionTimestamp") or not metadata.get("uid"):
            return UNCHANGED  # its report goes with it; or it is stored nowhere and can have none
        subject = findings.Subject(
            resource.group,
            resource.version,
            resource.kind,
            metadata.get("namespace") or "",
            metadata["name"],
            metadata["uid"],
        )
        latest: dict[str, findings.Found] = dict(task.silent)
        outcome = DISABLED
        results: tuple[evaluate.PolicyResult, ...] = ()
        if writer.DISABLED not in (metadata.get("labels") or {}) and not self._left_out(subject):
            request = confirmation.request_about(subject, resource.plural, stored)
            policies = task.policies.lookup(request, None)
            trail = self._traces.trail(alone=reports is None)
            hidden = redaction.of(request, self._hidden())
            with subjects.concerning(subjects.Subject("", None if hidden is None else hidden.text)):
                results = await self._judge.judge(policies, request, known, trail) if policies else ()
            if hidden is not None:
                results = hidden.results(results)
                if trail is not None:
                    trail.steps = hidden.steps(trail.steps)
            self._note(subject, results)
            for result in results:
                latest[result.policy.key] = findings.Found(result, task.at)
            outcome = UNCHANGED if reports is not None and reports.says(subject.uid, latest) else NEWS
            if trail is not None and outcome == NEWS:
                self._traces.tell(trail, subject, alone=reports is None)
        self._metrics.looked_at(resource.kind, outcome)
        if outcome == NEWS or (outcome == DISABLED and (reports is None or subject.uid in reports)):
            if outcome == NEWS:
                self._told(subject, results)
            self._put(
                findings.Findings(
                    subject,
                    resource.plural,
                    latest,
                    fresh=reports is not None and subject.uid not in reports,
                    proven=outcome == NEWS,
                    requests=_span(),
                )
            )
        return outcome

    def _note(self, subject: findings.Subject, results: Sequence[evaluate.PolicyResult]) -> None:
        self._metrics.judged(subject.kind, subject.namespace, results)
        for result in results:
            for rule in result.rules:
                if rule.exception is not None:
                    logger.error(
                        "Rule %s of policy %s raised what it may not raise; this is a defect of Kymograph",
                        rule.rule.name,
                        result.policy.key,
                        exc_info=rule.exception,
                    )


def _span() -> tuple[trace.SpanContext, ...]:
    """The span of the scan, for the trace of the report's write to be linked to."""
    current = trace.get_current_span().get_span_context()
    return (current,) if current.is_valid and current.trace_flags.sampled else ()
