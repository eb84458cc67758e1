"""What of a TracingConfiguration is in force.

A change that cannot be used as a whole leaves the last good configuration as it was, but for what the change wants to
be told to nobody: that holds from the moment it is known. Where there is no last good one, at a start, what can be used
is put in force without the rest; and so it is where a resource comes or goes, since what holds without one is no older
state of it. Either way `InForce.problem` says what is not in force.
"""

import asyncio
import dataclasses
import datetime as dt
import logging
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from opentelemetry.trace import Span

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.runtime import errors, metricserver, telemetrysecrets, tracingstatus
from kymograph.telemetry import destination, logsettings, metricsettings, partial, roots, settings
from kymograph.telemetry import errors as telemetry_errors
from kymograph.telemetry.providers import Telemetry

logger = logging.getLogger(__name__)

_UNUSABLE = (telemetry_errors.TelemetryError, errors.PortTaken, kubernetes_errors.KubernetesError)
"""What may be wrong with a configuration, or with what it names."""


class Read(Protocol):
    """Reads settings from a spec, over what the process was started with."""

    def __call__(self, spec: Mapping[str, Any], *, parts: partial.Whole) -> settings.TelemetrySettings:
        """The settings; raises SettingsInvalid as `settings.from_spec` does."""


class InForce:
    """Puts configurations in force; for one task at a time.

    Args:
        telemetry: What is configured.
        metrics: The pull endpoint, which is configured too.
        secrets: Reads the Secrets that exporters use.
        read: Reads a spec.
        apply_logs: Changes how the process logs.
        now: The current time.

    Attributes:
        problem: What is not in force, as the reason and the message of a condition; None where all is.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        metrics: metricserver.MetricServer,
        secrets: telemetrysecrets.TelemetrySecrets,
        read: Read,
        apply_logs: Callable[[logsettings.LogSettings], None],
        now: Callable[[], dt.datetime],
    ) -> None:
        self._telemetry = telemetry
        self._metrics = metrics
        self._secrets = secrets
        self._read = read
        self._apply_logs = apply_logs
        self._now = now
        self._applied = settings.TelemetrySettings()
        self._left_out: frozenset[str] = frozenset()
        self._redacted = logsettings.NOTHING_MORE
        self._whole: bool | None = None  # in force is all of: a resource, what stands under it, or neither
        self._since: dict[str, int] = {}
        self._files: Mapping[str, tuple[int, ...]] = {}
        self._taken: int | None = None
        self.problem: tuple[str, str] | None = None

    @property
    def disabled(self) -> bool:
        """Whether whoever started us wants nothing exported."""
        return self._applied.disabled

    def exporting(self) -> list[tracingstatus.Exporting]:
        """The state of the signals that are exported."""
        telemetry = self._telemetry
        return tracingstatus.exporting(
            self._applied,
            self._since,
            telemetry.queue.status(),
            telemetry.push.status(),
            telemetry.log_queue.status(),
            telemetry.additional,
            self._left_out,
        )

    async def outdated(self) -> bool:
        """Whether what was used last may have another end now: a Secret or file is another one, or a port is free."""
        return await self._secrets.changed() or await self._files_changed() or await self._port_freed()

    async def use(self, spec: Mapping[str, Any] | None, span: Span) -> None:
        """Put a configuration in force, or say what is the problem.

        Args:
            spec: That of the resource; None where there is none, and only what stands under it is.
            span: Is told of the problem.
        """
        of_resource = spec is not None
        self._taken = None
        self._redact(spec or {})
        parts = partial.WHOLE if self._whole is of_resource else partial.Usable(*_UNUSABLE)
        try:
            wanted = self._read(spec or {}, parts=parts)
            self._files = await asyncio.to_thread(_looks_of, wanted.files)
            secrets = await self._secrets.read(wanted.secrets, partly=parts is not partial.WHOLE)
            await self._apply(wanted, secrets, parts)
        except _UNUSABLE as error:
            redacting = self._redacted != self._applied.logs.redacted
            self.problem = tracingstatus.not_in_force(error, redacting=redacting)
            roots.fail(span, error)
            logger.warning("The TracingConfiguration cannot be used, the last good one goes on: %s", error)
            return
        left_out = parts.left_out
        self._note(wanted, frozenset(each.part for each in left_out))
        self._whole = None if left_out else of_resource
        self.problem = tracingstatus.in_force_without(left_out) if left_out else None
        if self.problem is not None:
            roots.fail(span, left_out[0].error)
            logger.warning("The TracingConfiguration cannot be used as a whole: %s", self.problem[1])

    def _redact(self, spec: Mapping[str, Any]) -> None:
        """Tell nobody from now on what was told to nobody, and what this spec adds to that."""
        wanted = logsettings.redacted((spec.get("logs") or {}).get("redact") or {}, partial.Usable(*_UNUSABLE))
        both = self._applied.logs.redacted.joined(wanted)
        if both != self._redacted:
            self._redacted = both
            self._telemetry.redact(both)
            self._apply_logs(dataclasses.replace(self._applied.logs, redacted=both))

    async def _apply(
        self, wanted: settings.TelemetrySettings, secrets: destination.Secrets, parts: partial.Whole
    ) -> None:
        port, guard, served = self._metrics.port, self._metrics.guard, False
        with parts.part("metrics.prometheus"):
            await self._serve(wanted.metrics, secrets)
            served = True
        if not served:
            await self._metrics.serve(None)
        try:
            await self._telemetry.apply(wanted, secrets, parts)
        except telemetry_errors.TelemetryError:
            await self._metrics.serve(port, guard)
            raise
        self._redacted = wanted.logs.redacted
        self._apply_logs(wanted.logs)

    async def _serve(self, metrics: metricsettings.MetricSettings, secrets: destination.Secrets) -> None:
        port = metrics.prometheus_port if metrics.prometheus_enabled else None
        try:
            await self._metrics.serve(port, metricserver.guard(metrics, secrets))
        except errors.PortTaken as error:
            self._taken = port
            raise errors.PortTaken(f"metrics.prometheus.port: {error}; free it, or name another one") from error

    def _note(self, wanted: settings.TelemetrySettings, left_out: frozenset[str]) -> None:
        now = int(self._now().timestamp() * 1e9)
        before = tracingstatus.paths(self._applied, self._left_out)
        going = tracingstatus.paths(wanted, left_out)
        for name, exporter in going.items():
            if before.get(name) != exporter:
                self._since[name] = now
        self._applied, self._left_out = wanted, left_out
        told = ", ".join(f"{name} to {exporter.endpoint}" for name, exporter in going.items())
        logger.info("Telemetry configured: %s", told or "nothing is exported")

    async def _files_changed(self) -> bool:
        return bool(self._files) and await asyncio.to_thread(_looks_of, self._files) != self._files

    async def _port_freed(self) -> bool:
        return self._taken is not None and await self._metrics.can_listen(self._taken)


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
