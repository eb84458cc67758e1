"""The TracingConfiguration, applied while the process runs, and what its author is told about it.

A configuration that cannot be used is shown as a condition, and the last good one goes on. The status is written when
a condition changes, and its counts now and then while they change.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.model import tracingconfiguration as model
from kymograph.runtime import errors, metricserver
from kymograph.telemetry import errors as telemetry_errors
from kymograph.telemetry import settings
from kymograph.telemetry.export import ExportStatus
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the exporters: a dead collector is shown about as soon as it is noticed."""

COUNT_EVERY = 30.0
"""Seconds between two writes of a status whose counts alone have changed."""

MOST_MESSAGE = 1024


class Tracing:
    """Applies the TracingConfiguration and reports on it.

    Args:
        client: Reads the resource at the start and writes its status.
        telemetry: What is configured.
        metrics: The pull endpoint, which is configured too.
        now: The time of a condition's transition.
    """

    def __init__(
        self,
        client: clients.KubernetesClient,
        telemetry: Telemetry,
        metrics: metricserver.MetricServer,
        now: Callable[[], dt.datetime],
    ) -> None:
        self._client = client
        self._telemetry = telemetry
        self._metrics = metrics
        self._now = now
        self._document: Mapping[str, Any] | None = None
        self._applied = settings.TelemetrySettings()
        self._applied_at = 0
        self._problem: tuple[str, str] | None = None
        self._written: dict[str, Any] = {}
        self._written_at = 0.0
        self._news = asyncio.Event()
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Apply the resource as it is now before the first request comes.

        Where there is none one is made, for users to edit: it says what applies by default. It cannot ship with the
        manifests, because kubectl applies no object of a kind that it installs in the same breath.
        """
        try:
            document = await self._read_or_create()
        except kubernetes_errors.KubernetesError as error:
            logger.warning("The TracingConfiguration cannot be read, the defaults apply: %s", error)
            await self.removed()
            return
        await self.changed(document)

    async def _read_or_create(self) -> Mapping[str, Any]:
        try:
            return await self._client.get(resources.TRACING_CONFIGURATIONS, model.NAME)
        except kubernetes_errors.NotFound:
            pass
        try:
            return await self._client.create(resources.TRACING_CONFIGURATIONS, model.default())
        except kubernetes_errors.Conflict:
            return await self._client.get(resources.TRACING_CONFIGURATIONS, model.NAME)

    async def changed(self, document: Mapping[str, Any]) -> None:
        """The resource is (now) like this."""
        async with self._lock:
            before = self._document
            self._document = document
            if before is not None and _generation(before) == _generation(document) and _uid(before) == _uid(document):
                return
            await self._apply(document.get("spec") or {})

    async def removed(self) -> None:
        """There is no resource (any more): the defaults apply."""
        async with self._lock:
            self._document = None
            await self._apply({})

    async def report(self) -> None:
        """Keep the status true until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            document = self._document
            if document is None:
                continue
            try:
                await self._write(document)
            except kubernetes_errors.NotFound:
                continue
            except kubernetes_errors.KubernetesError as error:
                logger.warning("The status of the TracingConfiguration cannot be written: %s", error)
                await asyncio.sleep(LOOK_EVERY)

    async def _apply(self, spec: Mapping[str, Any]) -> None:
        try:
            wanted = settings.from_spec(spec)
            await self._metrics.serve(wanted.metrics.prometheus_port if wanted.metrics.prometheus_enabled else None)
            await self._telemetry.apply(wanted)
        except (telemetry_errors.TelemetryError, errors.PortTaken) as error:
            self._problem = (type(error).__name__, str(error))
            logger.warning("The TracingConfiguration cannot be used, the last good one goes on: %s", error)
        else:
            if wanted.traces != self._applied.traces:
                self._applied_at = int(self._now().timestamp() * 1e9)
            self._applied = wanted
            self._problem = None
            traces = wanted.traces
            logger.info("Telemetry configured: traces go to %s", traces.endpoint if traces else "nobody")
        self._news.set()

    async def _write(self, document: Mapping[str, Any]) -> None:
        export = self._telemetry.queue.status()
        status = render(document, self._applied, self._applied_at, self._problem, export, self._now())
        now = asyncio.get_running_loop().time()
        conditions_changed = _judgement(status) != _judgement(self._written)
        counts_due = status != self._written and now - self._written_at >= COUNT_EVERY
        if not conditions_changed and not counts_due:
            return
        await self._client.merge(resources.TRACING_CONFIGURATIONS, model.NAME, {"status": status}, subresource="status")
        self._written, self._written_at = status, now


def register(registry: kopf.OperatorRegistry, tracing: Tracing) -> None:
    """Have Kopf tell of changes to the resource."""

    @kopf.on.event(model.GROUP, model.VERSION, model.PLURAL, id="watch-tracingconfiguration", registry=registry)
    async def tracing_event(event: Mapping[str, Any], **_: Any) -> None:
        document = event["object"]
        if document["metadata"]["name"] != model.NAME:
            return
        if event["type"] == "DELETED":
            await tracing.removed()
        else:
            await tracing.changed(dict(document))


def render(
    document: Mapping[str, Any],
    applied: settings.TelemetrySettings,
    applied_at: int,
    problem: tuple[str, str] | None,
    export: ExportStatus,
    now: dt.datetime,
) -> dict[str, Any]:
    """The status of a TracingConfiguration: `Accepted` and `Exporting`, and the state of the exporter of traces.

    What the exporter before `applied_at` (nanoseconds since the epoch) did says nothing about this one.
    `Exporting` is True after a delivery, False with a reason when nothing is configured or the last attempt failed,
    and Unknown before the first attempt.
    """
    generation = int(document["metadata"].get("generation") or 0)
    before = {c.get("type"): c for c in (document.get("status") or {}).get("conditions") or []}

    def condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
        old = before.get(kind) or {}
        since = old["lastTransitionTime"] if old.get("status") == status else _rfc3339(now)
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message[:MOST_MESSAGE],
            "lastTransitionTime": since,
            "observedGeneration": generation,
        }

    if problem is None:
        accepted = condition("Accepted", "True", "Applied", "The configuration is in force.")
    else:
        accepted = condition("Accepted", "False", problem[0], f"{problem[1]}; the last good configuration goes on.")
    traces = applied.traces
    failed_at = export.last_error_at or 0
    succeeded_at = export.last_success or 0
    if traces is None:
        exporting = condition("Exporting", "False", "NotConfigured", "spec.traces is not set: no trace is exported.")
    elif failed_at > max(succeeded_at, applied_at):
        exporting = condition(
            "Exporting", "False", "ExportFailed", f"{traces.endpoint} does not take traces: {export.last_error}"
        )
    elif succeeded_at > applied_at:
        exporting = condition("Exporting", "True", "Delivered", f"{traces.endpoint} takes traces.")
    else:
        exporting = condition("Exporting", "Unknown", "NothingSent", f"Nothing was sent to {traces.endpoint} yet.")
    exporters = []
    if traces is not None:
        exporter: dict[str, Any] = {
            "signal": "traces",
            "endpoint": traces.endpoint,
            "sent": export.sent,
            "dropped": sum(export.dropped.values()),
        }
        if succeeded_at > applied_at:
            exporter["lastSuccess"] = _rfc3339(dt.datetime.fromtimestamp(succeeded_at / 1e9, dt.UTC))
        if exporting["reason"] == "ExportFailed" and export.last_error:
            exporter["lastError"] = export.last_error[:MOST_MESSAGE]
        exporters.append(exporter)
    return {"observedGeneration": generation, "conditions": [accepted, exporting], "exporters": exporters}


def _judgement(status: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    fields = ("type", "status", "reason", "message", "observedGeneration")
    return [tuple(c[field] for field in fields) for c in status.get("conditions") or []]


def _generation(document: Mapping[str, Any]) -> Any:
    return document["metadata"].get("generation")


def _uid(document: Mapping[str, Any]) -> Any:
    return document["metadata"].get("uid")


def _rfc3339(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
