"""The TracingConfiguration, applied while the process runs.

What becomes of one that cannot be used is for `tracinginforce` to say, and who writes down what is in force, and how
often, for `tracingreport`.
"""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import kopf

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.model import tracingconfiguration as model
from kymograph.runtime import metricserver, telemetrysecrets, tracinginforce, tracingstatus
from kymograph.telemetry import defaults, logsettings, roots, settings
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

SECRETS_EVERY = 3.0
"""Seconds between two looks at the Secrets that exporters use: how long a rotated one may go unnoticed.

A port that was taken is looked at as often.
"""


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
        read = functools.partial(settings.from_spec, environ=started_with.environ, defaults=started_with.flags)
        self._in_force = tracinginforce.InForce(telemetry, metrics, secrets, read, apply_logs, now)
        self._now = now
        self._document: Mapping[str, Any] | None = None
        self._listeners: list[asyncio.Event] = []
        self._lock = asyncio.Lock()
        self._kinds = asyncio.Event()
        self._found = False
        self._told = 0  # how often

    async def start(self) -> None:
        """Apply the resource as it is now before the first request comes.

        Where there is none one is made, for users to edit: it says nothing, and what applies by default applies. It
        cannot ship with the manifests, because kubectl applies no object of a kind that it installs in the same breath.
        """
        told = self._told
        try:
            document = await self._read_or_create()
        except kubernetes_errors.KubernetesError as error:
            if self._told != told:
                return  # the watch knows better by now
            logger.warning("The TracingConfiguration cannot be read, the defaults apply: %s", error)
            await self.removed()
            return
        if self._told == told:
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
        try:
            return await self._client.create(resources.TRACING_CONFIGURATIONS, model.default())
        except kubernetes_errors.Conflict:
            return await self._client.get(resources.TRACING_CONFIGURATIONS, model.NAME)

    async def changed(self, document: Mapping[str, Any]) -> None:
        """The resource is (now) like this."""
        self._found = True
        self._told += 1
        async with self._lock:
            before = self._document
            self._document = document
            if before is not None and _uid(before) == _uid(document) and _generation(before) == _generation(document):
                self._tell()
            else:
                await self._apply()

    async def removed(self) -> None:
        """There is no resource (any more): the defaults apply."""
        self._told += 1
        async with self._lock:
            self._document = None
            await self._apply()

    async def follow_secrets(self) -> None:
        """Apply the configuration again when a Secret or file has changed or a port is free, until cancelled."""
        while True:
            await asyncio.sleep(SECRETS_EVERY)
            async with self._lock:
                if await self._in_force.outdated():
                    await self._apply()

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

    async def _apply(self) -> None:
        document = self._document
        with (
            self._counted.reconciling() as ended,
            roots.root(self._telemetry.tracer, "TELEMETRY configuration") as span,
        ):
            await self._in_force.use(None if document is None else document.get("spec") or {}, span)
            if self._in_force.problem is not None:
                ended(self._in_force.problem[0])
        self._tell()

    def _tell(self) -> None:
        for event in self._listeners:
            event.set()

    def _status(self, document: Mapping[str, Any]) -> dict[str, Any]:
        in_force = self._in_force
        return tracingstatus.render(
            document, in_force.problem, in_force.exporting(), self._now(), disabled=in_force.disabled
        )


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


def _generation(document: Mapping[str, Any]) -> Any:
    return document["metadata"].get("generation")


def _uid(document: Mapping[str, Any]) -> Any:
    return document["metadata"].get("uid")
