"""The TracingConfiguration, applied while the process runs.

A configuration that cannot be used is shown as a condition, and the last good one goes on; who writes that down, and
how often, is for `tracingreport` to say.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import logging
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import kopf
from opentelemetry.trace import Span

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.model import tracingconfiguration as model
from kymograph.runtime import errors, metricserver, telemetrysecrets, tracingstatus
from kymograph.telemetry import defaults, destination, logsettings, roots, settings
from kymograph.telemetry import errors as telemetry_errors
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

SECRETS_EVERY = 3.0
"""Seconds between two looks at the Secrets that exporters use: how long a rotated one may go unnoticed."""


class Cluster(Protocol):
    """What is asked of a Kubernetes client."""

    async def get(self, resource: resources.Resource, name: str) -> dict[str, Any]:
        """One object; raises NotFound where there is none."""

    async def create(self, resource: resources.Resource, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; raises Conflict where it exists."""


@dataclasses.dataclass(frozen=True, slots=True)
class StartedWith:
    """What stands under the resource.

    Attributes:
        environ: Environment variables, for OpenTelemetry's defaults of exporters.
        flags: What flags say, before them.
    """

    environ: Mapping[str, str]
    flags: defaults.Defaults = defaults.NONE


class Tracing:
    """Applies the TracingConfiguration.

    Args:
        client: Reads the resource at the start.
        telemetry: What is configured.
        metrics: The pull endpoint, which is configured too.
        secrets: Reads the Secrets that exporters use.
        started_with: What stands under the resource.
        apply_logs: Changes how the process logs.
        now: The time of a condition's transition.
    """

    def __init__(
        self,
        client: Cluster,
        telemetry: Telemetry,
        metrics: metricserver.MetricServer,
        secrets: telemetrysecrets.TelemetrySecrets,
        started_with: StartedWith,
        apply_logs: Callable[[logsettings.LogSettings], None],
        now: Callable[[], dt.datetime],
    ) -> None:
        self._client = client
        self._telemetry = telemetry
        self._counted = telemetry.work("telemetry-controller")
        self._metrics = metrics
        self._secrets = secrets
        self._started_with = started_with
        self._apply_logs = apply_logs
        self._now = now
        self._document: Mapping[str, Any] | None = None
        self._applied = settings.TelemetrySettings()
        self._since: dict[str, int] = {}
        self._files: Mapping[str, tuple[int, ...]] = {}
        self._problem: tuple[str, str] | None = None
        self._listeners: list[asyncio.Event] = []
        self._lock = asyncio.Lock()
        self._kinds = asyncio.Event()
        self._found = False

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
        self._found = True
        await self.changed(document)

    def kinds_changed(self) -> None:
        """A CustomResourceDefinition came or went: perhaps ours."""
        self._kinds.set()

    async def make_up(self) -> None:
        """Start again when kinds change, as long as there was no resource: the operator may be older than its CRD."""
        while True:
            await self._kinds.wait()
            self._kinds.clear()
            if not self._found:
                await self.start()

    async def _read_or_create(self) -> Mapping[str, Any]:
        try:
            return await self._client.get(resources.TRACING_CONFIGURATIONS, model.NAME)
        except kubernetes_errors.NotFound:
            pass
        made = model.default()
        if self._started_with.flags != defaults.NONE:
            made["spec"] = {}  # what it says would win over the flags
        try:
            return await self._client.create(resources.TRACING_CONFIGURATIONS, made)
        except kubernetes_errors.Conflict:
            return await self._client.get(resources.TRACING_CONFIGURATIONS, model.NAME)

    async def changed(self, document: Mapping[str, Any]) -> None:
        """The resource is (now) like this."""
        self._found = True
        async with self._lock:
            before = self._document
            self._document = document
            if before is not None and _uid(before) == _uid(document) and _generation(before) == _generation(document):
                self._tell()
            else:
                await self._apply(document.get("spec") or {})

    async def removed(self) -> None:
        """There is no resource (any more): the defaults apply."""
        async with self._lock:
            self._document = None
            await self._apply({})

    async def follow_secrets(self) -> None:
        """Apply the configuration again when a Secret or file that it names has changed, until cancelled."""
        while True:
            await asyncio.sleep(SECRETS_EVERY)
            async with self._lock:
                document = self._document
                if (document is not None and await self._secrets.changed()) or await self._files_changed():
                    await self._apply((document or {}).get("spec") or {})

    async def judged(self) -> tuple[Mapping[str, Any], dict[str, Any]] | None:
        """The resource and the status that this replica alone gives it; None where there is no resource.

        What is just being applied is judged when it is.
        """
        async with self._lock:
            document = self._document
            return None if document is None else (document, self._status(document))

    @contextlib.contextmanager
    def news(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever there may be something new to say, or others have said something."""
        event = asyncio.Event()
        event.set()
        self._listeners.append(event)
        try:
            yield event
        finally:
            self._listeners.remove(event)

    async def _files_changed(self) -> bool:
        return bool(self._files) and await asyncio.to_thread(_looks_of, self._files) != self._files

    async def _apply(self, spec: Mapping[str, Any]) -> None:
        with (
            self._counted.reconciling() as ended,
            roots.root(self._telemetry.tracer, "TELEMETRY configuration") as span,
        ):
            await self._applied_or_not(spec, span)
            if self._problem is not None:
                ended(self._problem[0])
        self._tell()

    async def _applied_or_not(self, spec: Mapping[str, Any], span: Span) -> None:
        try:
            wanted = settings.from_spec(spec, self._started_with.environ, self._started_with.flags)
            self._files = await asyncio.to_thread(_looks_of, wanted.files)
            secrets = await self._secrets.read(wanted.secrets)
            await self._put_in_force(wanted, secrets)
        except (telemetry_errors.TelemetryError, errors.PortTaken, kubernetes_errors.KubernetesError) as error:
            self._problem = (type(error).__name__, str(error))
            roots.fail(span, error)
            logger.warning("The TracingConfiguration cannot be used, the last good one goes on: %s", error)
        else:
            now = int(self._now().timestamp() * 1e9)
            before = tracingstatus.paths(self._applied)
            for name, exporter in tracingstatus.paths(wanted).items():
                if before.get(name) != exporter:
                    self._since[name] = now
            self._applied = wanted
            self._problem = None
            going = (f"{name} to {exporter.endpoint}" for name, exporter in tracingstatus.paths(wanted).items())
            logger.info("Telemetry configured: %s", ", ".join(going) or "nothing is exported")

    def _tell(self) -> None:
        for event in self._listeners:
            event.set()

    async def _put_in_force(self, wanted: settings.TelemetrySettings, secrets: destination.Secrets) -> None:
        """Apply settings, all of them or none."""
        port, guard = self._metrics.port, self._metrics.guard
        metrics = wanted.metrics
        await self._metrics.serve(
            metrics.prometheus_port if metrics.prometheus_enabled else None, metricserver.guard(metrics, secrets)
        )
        try:
            await self._telemetry.apply(wanted, secrets)
        except telemetry_errors.TelemetryError:
            await self._metrics.serve(port, guard)
            raise
        self._apply_logs(wanted.logs)

    def _status(self, document: Mapping[str, Any]) -> dict[str, Any]:
        telemetry = self._telemetry
        signals = tracingstatus.exporting(
            self._applied,
            self._since,
            telemetry.queue.status(),
            telemetry.push.status(),
            telemetry.log_queue.status(),
            telemetry.additional,
        )
        disabled = self._applied.disabled
        return tracingstatus.render(document, self._problem, signals, self._now(), disabled=disabled)


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


def _looks_of(paths: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """What files look like from outside: those of a mounted Secret are exchanged, hence the inode."""
    looks: dict[str, tuple[int, ...]] = {}
    for path in paths:
        try:
            found = pathlib.Path(path).stat()
        except OSError:
            looks[path] = ()
        else:
            looks[path] = (found.st_ino, found.st_mtime_ns, found.st_size)
    return looks


def _generation(document: Mapping[str, Any]) -> Any:
    return document["metadata"].get("generation")


def _uid(document: Mapping[str, Any]) -> Any:
    return document["metadata"].get("uid")
