"""What telemetry is told to do: the part of a TracingConfiguration that this room acts on, parsed once.

The CRD's own rules reject most wrong values at admission; what they cannot see is refused here with the field's path.
Secrets are here by name only: they are read by whoever may, and meet the settings in a `destination.Destination`.
"""

import dataclasses
import enum
import types
from collections.abc import Mapping
from typing import Any

from kymograph.telemetry import capping, destination, environment, errors, keeping, logsettings, metricsettings
from kymograph.telemetry import defaults as startup

MILLION = 1_000_000


class ParentPolicy(enum.StrEnum):
    """What a `traceparent` on an incoming request means."""

    RESPECT = "respect"
    """The request continues the caller's trace and follows its decision."""
    LINK = "link"
    """The request starts a trace of its own, linked to the caller's."""
    IGNORE = "ignore"
    """The request starts a trace of its own."""


class Controller(enum.StrEnum):
    """The parts of the operator whose traces can be configured apart."""

    ADMISSION = "admission"
    BACKGROUND = "background"
    CLEANUP = "cleanup"
    REPORTS = "reports"


@dataclasses.dataclass(frozen=True, slots=True)
class ControllerTraces:
    """What one controller does differently.

    Attributes:
        enabled: Whether it makes spans at all.
        sampling_rate_per_million: Its own rate for traces without a parent; None for the common one.
    """

    enabled: bool = True
    sampling_rate_per_million: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TraceSettings(destination.ExporterSettings):
    """Where spans go and which are made.

    Attributes:
        sampling_rate_per_million: How many of a million requests without a parent are traced; 0 traces only what the
            parent sampled.
        parent: What a `traceparent` on an incoming request means.
        parent_traces_per_second: How many parents' decisions to sample are followed in a second.
        keep: Which requests keep our spans although they were not sampled.
        controllers: What controllers do differently.
        user: Whether spans say who made a request.
    """

    sampling_rate_per_million: int = 0
    parent: ParentPolicy = ParentPolicy.RESPECT
    parent_traces_per_second: int = capping.DEFAULT_PER_SECOND
    keep: keeping.Keep = keeping.NOTHING
    controllers: Mapping[Controller, ControllerTraces] = dataclasses.field(
        default_factory=lambda: types.MappingProxyType({})
    )
    user: bool = False

    def of(self, controller: Controller) -> "TraceSettings | None":
        """The settings as one controller has them; None if it makes no spans."""
        own = self.controllers.get(controller)
        if own is None:
            return self
        if not own.enabled:
            return None
        if own.sampling_rate_per_million is None:
            return self
        return dataclasses.replace(self, sampling_rate_per_million=own.sampling_rate_per_million)


@dataclasses.dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """All of it. No `traces` means that no span is made or sent, which is the shipped default."""

    traces: TraceSettings | None = None
    metrics: metricsettings.MetricSettings = dataclasses.field(default_factory=metricsettings.MetricSettings)
    resource_attributes: Mapping[str, str] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))
    logs: logsettings.LogSettings = dataclasses.field(default_factory=logsettings.LogSettings)

    @property
    def secrets(self) -> frozenset[str]:
        """The names of the Secrets that exporters need."""
        exporters = (self.traces, self.metrics.otlp)
        return frozenset[str]().union(*(each.secrets for each in exporters if each is not None))


def from_spec(
    spec: Mapping[str, Any],
    environ: Mapping[str, str] = types.MappingProxyType({}),
    defaults: startup.Defaults = startup.NONE,
) -> TelemetrySettings:
    """Read the `spec` of a TracingConfiguration.

    Args:
        spec: The resource's `spec`, as decoded from JSON. `traces: {}` means the default endpoint.
        environ: Environment variables: OpenTelemetry's are the defaults of how to export what is exported.
        defaults: What the process was started with; it stands before the environment.

    Returns:
        The settings; fields that this room does not act on are not looked at.

    Raises:
        SettingsInvalid: A field has a value that cannot be used.
    """
    traces = spec.get("traces", {} if defaults.traced else None)
    return TelemetrySettings(
        traces=None if traces is None else _traces(traces, environ, defaults),
        metrics=metricsettings.from_spec(spec.get("metrics") or {}, environ, defaults),
        resource_attributes=types.MappingProxyType(
            {str(key): str(value) for key, value in (spec.get("resourceAttributes") or {}).items()}
        ),
        logs=logsettings.from_spec(spec.get("logs") or {}),
    )


def _traces(spec: Mapping[str, Any], environ: Mapping[str, str], defaults: startup.Defaults) -> TraceSettings:
    parent = spec.get("parent", ParentPolicy.RESPECT)
    if parent not in tuple(ParentPolicy):
        raise errors.SettingsInvalid("traces.parent", f"{parent!r} is none of {', '.join(ParentPolicy)}")
    cap = spec.get("parentTracesPerSecond", capping.DEFAULT_PER_SECOND)
    if not isinstance(cap, int) or cap < 0:
        raise errors.SettingsInvalid("traces.parentTracesPerSecond", f"{cap!r} is no number of traces")
    rate = _rate(spec, "traces")
    if rate is None:
        rate = environment.sampling_rate_per_million(environ)
    if rate is None:
        rate = MILLION if defaults.traced else 0
    return TraceSettings(
        **destination.from_spec(spec, "traces", destination.Signal.TRACES, environ, defaults.traces),
        sampling_rate_per_million=rate,
        parent=ParentPolicy(parent),
        parent_traces_per_second=cap,
        keep=keeping.from_spec(spec.get("keep") or {}, "traces.keep"),
        controllers=types.MappingProxyType(
            {
                Controller(name): ControllerTraces(
                    enabled=bool(own.get("enabled", True)),
                    sampling_rate_per_million=_rate(own, f"traces.controllers.{name}"),
                )
                for name, own in (spec.get("controllers") or {}).items()
                if name in tuple(Controller)
            }
        ),
        user=bool((spec.get("attributes") or {}).get("user", False)),
    )


def _rate(spec: Mapping[str, Any], path: str) -> int | None:
    rate = spec.get("samplingRatePerMillion")
    if rate is None:
        return None
    if not isinstance(rate, int) or not 0 <= rate <= MILLION:
        raise errors.SettingsInvalid(f"{path}.samplingRatePerMillion", f"{rate!r} is not between 0 and {MILLION}")
    return rate
