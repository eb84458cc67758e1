"""Writes reports: one unit of work, and one trace, per object.

Findings come from reviews, which anybody may forge who reaches the webhook. So the object is read again first, and
only one that exists, with that uid, and that was changed by the request gets its report written; with what was found
in its stored content, never in another one (`confirmation`).
"""

import asyncio
import contextlib
import enum
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Tracer

from kymograph.clients.kubernetes import errors, resources
from kymograph.controllers.reports import confirmation, document, forms, late, pace, permissions, queue
from kymograph.controllers.reports.findings import ByPolicy, Findings, Subject
from kymograph.controllers.reports.kinds import Kinds
from kymograph.telemetry import roots, semconv
from kymograph.telemetry import work as works

logger = logging.getLogger(__name__)

WORKERS = 8
"""Objects worked on at once: enough to keep the pace at 50 ms an object, few enough to be nothing to an API server."""

MOST_FAILURES = 8
"""Tries of one object that the API server refuses; with the back-off that is about three minutes."""

MOST_CONFLICTS = 3
"""Tries at once when somebody else writes the same report."""

PAUSE_FIRST, PAUSE_MOST = 0.5, 15.0
"""Seconds without any write when none can succeed (no answer, no CRD, no right), doubled each time."""

DISABLED = "reports.kyverno.io/disabled"
"""A label that, with any value, keeps an object (here) or a policy (`reported`) out of reports."""


class Outcome(enum.StrEnum):
    """What became of one object; the label of `report_updates_total`."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    OBJECT_GONE = "object_gone"
    NOT_STORED = "not_stored"
    UNCONFIRMED = "unconfirmed"
    DISABLED = "disabled"
    NOT_PERMITTED = "not_permitted"
    FAILED = "failed"


class Cluster(Protocol):
    """What the writer asks of a Kubernetes client."""

    async def get(
        self, resource: resources.Resource, name: str, *, namespace: str = "", metadata_only: bool = False
    ) -> dict[str, Any]:
        """One object."""

    async def create(
        self,
        resource: resources.Resource,
        document: Mapping[str, Any],
        *,
        namespace: str = "",
        metadata_only: bool = False,
    ) -> dict[str, Any]:
        """Create an object; perhaps only its metadata are answered."""

    async def apply(
        self,
        resource: resources.Resource,
        document: Mapping[str, Any],
        *,
        namespace: str = "",
        metadata_only: bool = False,
    ) -> dict[str, Any]:
        """Apply the fields of a document; perhaps only its metadata are answered."""

    async def delete(
        self,
        resource: resources.Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Delete an object, only the one with that uid and in that version."""


class Blocked(Exception):
    """No report can be written at all at the moment, whatever the object; the text says why."""


class ReportWriter:
    """Takes objects from a queue and makes their reports true.

    Args:
        client: Reads and writes with the operator's identity.
        kinds: Which resource serves an object.
        permitted: Which resources may be read.
        work: The queue.
        reported: Which policies and rules are reported on.
        confirmation: Which findings are true of the stored object.
        tracer: Where each object is traced.
        count: Is told what became of each object.
        counted: Where work is counted.
        form: The API that reports are written in.
    """

    def __init__(
        self,
        client: Cluster,
        kinds: Kinds,
        permitted: permissions.Permissions,
        work: queue.WorkQueue,
        reported: document.Reported,
        confirmation: confirmation.Confirmation,
        tracer: Tracer,
        count: Callable[[Outcome], None],
        counted: works.Work,
        form: forms.Form = forms.POLICY_REPORTS,
    ) -> None:
        self._client = client
        self._kinds = kinds
        self._permitted = permitted
        self._work = work
        self._reported = reported
        self._confirmation = confirmation
        self._tracer = tracer
        self._count = count
        self._counted = counted
        self._form = form
        self._late = late.LateObjects(work)
        self._pace = pace.AdaptivePace()
        self._blocked = ""
        self._blocked_until = 0.0
        self._pause = PAUSE_FIRST

    @property
    def blocked(self) -> bool:
        """Whether no report can be written at the moment."""
        return bool(self._blocked)

    async def run(self) -> None:
        """Work until cancelled; nothing that the API server does ends it."""
        async with asyncio.TaskGroup() as workers:
            workers.create_task(self._late.run())
            for _ in range(WORKERS):
                workers.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            await asyncio.sleep(self._blocked_until - asyncio.get_running_loop().time())
            work = await self._work.take()
            again: queue.Work | None = work
            try:
                await self._pace.turn(1 if work.findings.proven and work.findings.fresh else 2)
                again = await self._try(work)
            finally:
                self._work.done(work, again=again)

    async def _try(self, work: queue.Work) -> queue.Work | None:
        """Work on an object; returns what is to be tried again."""
        try:
            with self._counted.reconciling():
                outcome = await self._traced(work.findings)
        except (Blocked, errors.Unreachable) as error:
            self._block(str(error))
            return work
        except errors.KubernetesError as error:
            if pace.is_refusal(error):
                self._pace.refused()
                return work
            if work.failures + 1 < MOST_FAILURES:
                self._counted.requeued(work.failures + 1)
                return queue.Work(work.findings, work.failures + 1)
            outcome = Outcome.OBJECT_GONE if isinstance(error, errors.NotFound) else Outcome.FAILED
            self._counted.dropped()
            if outcome is Outcome.FAILED:
                subject = work.findings.subject
                logger.warning(
                    "The report on %s %s/%s is given up: %s", subject.kind, subject.namespace, subject.name, error
                )
        except Exception:
            logger.exception("The report on an object raised what it may not raise; this is a defect of Kymograph")
            outcome = Outcome.FAILED
        self._count(outcome)
        self._pace.answered()
        if self._blocked and outcome in {Outcome.WRITTEN, Outcome.UNCHANGED}:
            logger.info("Reports are written again")
            self._blocked = ""
            self._pause = PAUSE_FIRST
        return None

    def _block(self, reason: str) -> None:
        """Have all workers pause; those that had begun before find out the same, which makes it no longer."""
        if not self._blocked:
            logger.warning("No report can be written, trying again ever more rarely: %s", reason)
        self._blocked = reason
        now = asyncio.get_running_loop().time()
        if now >= self._blocked_until:
            self._blocked_until = now + self._pause
            self._pause = min(2 * self._pause, PAUSE_MOST)

    async def _traced(self, findings: Findings) -> Outcome:
        subject = findings.subject
        with self._tracer.start_as_current_span(
            "REPORTS write",
            context=Context(),
            kind=SpanKind.INTERNAL,
            attributes={
                semconv.OBJECT_GROUP: subject.group,
                semconv.OBJECT_KIND: subject.kind,
                semconv.OBJECT_NAMESPACE: subject.namespace,
                semconv.OBJECT_NAME: subject.name,
                semconv.OBJECT_UID: subject.uid,
            },
            links=[Link(request) for request in findings.requests],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                outcome = await self._reconcile(findings)
            except (Blocked, errors.KubernetesError) as error:
                roots.fail(span, error)
                raise
            span.set_attribute(semconv.REPORT_OUTCOME, outcome)
            return outcome

    async def _reconcile(self, findings: Findings) -> Outcome:
        subject, found = findings.subject, findings.of("")
        disabled = False
        if findings.plural and not findings.proven:
            resource = await self._kinds.resource(subject, findings.plural)
            if resource is None:
                raise errors.NotFound(404, "", f"the API server serves no {subject.kind} of {subject.api_version}")
            if self._permitted.lacks(resource):
                return Outcome.NOT_PERMITTED
            try:
                stored = await self._object(resource, subject)
            except errors.Forbidden as error:
                if not permissions.is_missing_right(error):
                    raise
                self._permitted.refused(resource)
                return Outcome.NOT_PERMITTED
            if stored is None:
                self._late.take(findings)
                return Outcome.OBJECT_GONE
            metadata = stored["metadata"]
            disabled = DISABLED in (metadata.get("labels") or {})
            subject = subject._replace(uid=metadata["uid"])
            found = findings.of(metadata["resourceVersion"])
            if not found and not disabled:
                return Outcome.NOT_STORED
            if not disabled:
                found = await self._confirmation.confirmed(subject, resource.plural, stored, found)
                if not found:
                    return Outcome.UNCONFIRMED
        try:
            if disabled:
                return await self._remove(subject)
            return await self._write(subject, found, fresh=findings.fresh)
        except errors.StatusError as error:
            if _is_namespace_gone(error):
                return Outcome.OBJECT_GONE
            if isinstance(error, errors.NotFound) or (
                isinstance(error, errors.Forbidden) and permissions.is_missing_right(error)
            ):
                raise Blocked(str(error)) from error
            raise

    async def _object(self, resource: resources.Resource, subject: Subject) -> dict[str, Any] | None:
        """An object as it is stored; None if it is gone, going, or another one has its name."""
        try:
            stored = await self._client.get(resource, subject.name, namespace=subject.namespace)
        except errors.NotFound:
            return None
        metadata = stored["metadata"]
        if subject.uid not in ("", metadata["uid"]) or metadata.get("deletionTimestamp"):
            return None
        return stored

    async def _write(self, subject: Subject, found: ByPolicy, *, fresh: bool) -> Outcome:
        """Bring a report up to date, whoever else writes it at the same time.

        Created where there is none and applied (server-side) to the version that was read: two replicas may have the
        results of two webhooks on the same object.
        """
        resource = self._form.resource(subject.namespace)
        for attempt in range(MOST_CONFLICTS):
            stored = None if fresh and not attempt else await self._stored(subject)
            wanted = document.merged(subject, stored, found, self._reported, self._form)
            try:
                if wanted is None:
                    return Outcome.UNCHANGED if stored is None else await self._delete(subject, stored)
                if stored is None:
                    await self._client.create(resource, wanted, namespace=subject.namespace, metadata_only=True)
                    return Outcome.WRITTEN
                if document.tells(stored, wanted):
                    return Outcome.UNCHANGED
                wanted["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
                await self._client.apply(resource, wanted, namespace=subject.namespace, metadata_only=True)
                return Outcome.WRITTEN
            except errors.Conflict as error:
                conflict = error
        raise conflict

    async def _remove(self, subject: Subject) -> Outcome:
        """Delete the report of an object that is to have none."""
        stored = await self._stored(subject)
        if stored is not None and document.is_ours(stored):
            await self._delete(subject, stored)
        return Outcome.DISABLED

    async def _delete(self, subject: Subject, stored: Mapping[str, Any]) -> Outcome:
        """Delete a report as it was read; raises Conflict where somebody has written into it since."""
        with contextlib.suppress(errors.NotFound):
            await self._client.delete(
                self._form.resource(subject.namespace),
                subject.uid,
                namespace=subject.namespace,
                uid=stored["metadata"]["uid"],
                resource_version=stored["metadata"]["resourceVersion"],
            )
        return Outcome.DELETED

    async def _stored(self, subject: Subject) -> dict[str, Any] | None:
        try:
            return await self._client.get(
                self._form.resource(subject.namespace), subject.uid, namespace=subject.namespace
            )
        except errors.NotFound:
            return None


def _is_namespace_gone(error: errors.StatusError) -> bool:
    """Whether a write was refused because the namespace is being deleted, or has been since its object was read."""
    return "being terminated" in error.message or error.message.startswith("namespaces ")
