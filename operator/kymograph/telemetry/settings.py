"""What telemetry is told to do: the part of a TracingConfiguration that this room acts on, parsed once.

The CRD's own rules reject most wrong values at admission; what they cannot see is refused here with the field's path.
Secrets are here by name only: they are read by whoever may, and meet the settings in a `destination.Destination`.
"""

import dataclasses
import enum
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from kymograph.telemetry import (
    capping,
    decisionlink,
    destination,
    environment,
    errors,
    keeping,
    logsettings,
    metricsettings,
    partial,
    propagators,
    samplingrules,
)
from kymograph.telemetry import defaults as startup

MILLION = 1_000_000

_ExporterT = TypeVar("_ExporterT", bound=destination.ExporterSettings)


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


_AS_ALL = ControllerTraces()


@dataclasses.dataclass(frozen=True, slots=True)
class AdditionalDestination(destination.ExporterSettings):
    """A further receiver of the same spans.

    Attributes:
        name: What it is called in the status and in metrics.
    """

    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class TraceSettings(destination.ExporterSettings):
    """Where spans go and which are made.

    Attributes:
        sampling_rate_per_million: How many of a million requests without a parent are traced; 0 traces only what the
            parent sampled.
        parent: What a `traceparent` on an incoming request means.
        parent_traces_per_second: How many traces that callers can force are made in a second.
        keep: Which requests keep our spans although they were not sampled.
        controllers: What controllers do differently.
        user: Whether spans say who made a request.
        additional: Where spans go besides.
        additional_only: They go there and not to the endpoint of this.
        decision_link: The URL under which the trace of a denial is found; None where none is told.
        sampling_rules: Other rates for some namespaces, policies and controllers; the first that fits counts.
    """

    sampling_rate_per_million: int = 0
    parent: ParentPolicy = ParentPolicy.RESPECT
    parent_traces_per_second: int = capping.DEFAULT_PER_SECOND
    keep: keeping.Keep = keeping.NOTHING
    controllers: Mapping[Controller, ControllerTraces] = dataclasses.field(
        default_factory=lambda: types.MappingProxyType({})
    )
    user: bool = False
    additional: tuple[AdditionalDestination, ...] = ()
    additional_only: bool = False
    decision_link: decisionlink.Template | None = None
    sampling_rules: tuple[samplingrules.SamplingRule, ...] = ()

    @property
    def first(self) -> destination.ExporterSettings | None:
        """The first destination of spans; None where they go to the additional ones alone."""
        return None if self.additional_only else self

    def of(self, controller: Controller) -> "TraceSettings | None":
        """The settings as one controller has them; None if it makes no spans."""
        own = self.controllers.get(controller, _AS_ALL)
        if not own.enabled:
            return None
        rate = own.sampling_rate_per_million
        rules = samplingrules.for_controller(self.sampling_rules, controller) if self.sampling_rules else ()
        if rate is None and len(rules) == len(self.sampling_rules):
            return self
        rate = self.sampling_rate_per_million if rate is None else rate
        return dataclasses.replace(self, sampling_rate_per_million=rate, sampling_rules=rules)


@dataclasses.dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """All of it. No `traces` means that no span is made or sent, which is the shipped default.

    Attributes:
        traces: Which spans are made and where they go.
        metrics: Which metrics are shown, and where they are pushed.
        resource_attributes: Attributes on everything.
        logs: How records are written, and where they go besides.
        propagated: In which forms the trace context is read and told, in the order of preference.
        span_queue: Bounds of the queue of spans before each destination.
        log_queue: Bounds of the queue of log records.
        disabled: Whoever started us wants nothing exported, whatever the resource says.
    """

    traces: TraceSettings | None = None
    metrics: metricsettings.MetricSettings = dataclasses.field(default_factory=metricsettings.MetricSettings)
    resource_attributes: Mapping[str, str] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))
    logs: logsettings.LogSettings = dataclasses.field(default_factory=logsettings.LogSettings)
    propagated: tuple[propagators.Propagator, ...] = propagators.DEFAULT
    span_queue: environment.QueueLimits = environment.NO_LIMITS
    log_queue: environment.QueueLimits = environment.NO_LIMITS
    disabled: bool = False

    @property
    def exporters(self) -> list[destination.ExporterSettings]:
        """Where anything goes."""
        traced = () if self.traces is None else (self.traces.first, *self.traces.additional)
        return [each for each in (*traced, self.metrics.otlp, self.logs.otlp) if each is not None]

    @property
    def secrets(self) -> frozenset[str]:
        """The names of the Secrets that exporters, and the server of metrics, need."""
        served = {self.metrics.prometheus_tls} - {""}
        return frozenset(served).union(*(each.secrets for each in self.exporters))

    @property
    def files(self) -> frozenset[str]:
        """The paths of the files that exporters need."""
        return frozenset(path for each in self.exporters for path in each.files.paths)


def from_spec(
    spec: Mapping[str, Any],
    environ: Mapping[str, str] = types.MappingProxyType({}),
    defaults: startup.Defaults = startup.NONE,
    parts: partial.Whole = partial.WHOLE,
) -> TelemetrySettings:
    """Read the `spec` of a TracingConfiguration.

    Args:
        spec: The resource's `spec`, as decoded from JSON. `traces: {}` means the default endpoint.
        environ: Environment variables: OpenTelemetry's are the defaults of how to export what is exported.
        defaults: What the process was started with; it stands before the environment.
        parts: What becomes of a part that cannot be used.

    Returns:
        The settings; fields that this room does not act on are not looked at.

    Raises:
        SettingsInvalid: A field has a value that cannot be used.
    """
    forms: tuple[propagators.Propagator, ...] = propagators.DEFAULT
    disabled = False
    span_queue = log_queue = environment.NO_LIMITS
    with parts.part("propagators"):
        forms = propagators.from_spec(spec.get("propagators"), environ)
    with parts.part("OTEL_BSP"):
        span_queue = environment.queue_limits(environ, "BSP")
    with parts.part("OTEL_BLRP"):
        log_queue = environment.queue_limits(environ, "BLRP")
    with parts.part("OTEL_SDK_DISABLED"):
        disabled = environment.disabled(environ)
    read = TelemetrySettings(
        traces=_exported_traces(spec, environ, defaults, parts),
        metrics=_metrics(spec.get("metrics") or {}, environ, defaults, parts),
        resource_attributes=types.MappingProxyType(
            {str(key): str(value) for key, value in (spec.get("resourceAttributes") or {}).items()}
        ),
        logs=_logs(spec.get("logs") or {}, environ, parts),
        propagated=forms,
        span_queue=span_queue,
        log_queue=log_queue,
    )
    if defaults.output:
        read = _written(read, defaults.output)
    if not disabled:
        return read
    return dataclasses.replace(
        read,
        traces=None,
        metrics=dataclasses.replace(read.metrics, otlp=None),
        logs=dataclasses.replace(read.logs, otlp=None),
        disabled=True,
    )


def _written(read: TelemetrySettings, output: str) -> TelemetrySettings:
    """The same settings, where everything is written and nothing is sent."""
    traces = None if read.traces is None else dataclasses.replace(read.traces, additional=(), additional_only=False)
    return dataclasses.replace(
        read,
        traces=_to_output(traces, output),
        metrics=dataclasses.replace(read.metrics, otlp=_to_output(read.metrics.otlp, output)),
        logs=dataclasses.replace(read.logs, otlp=_to_output(read.logs.otlp, output)),
    )


def _exported_traces(
    spec: Mapping[str, Any], environ: Mapping[str, str], defaults: startup.Defaults, parts: partial.Whole
) -> TraceSettings | None:
    said, traces = spec.get("traces", {} if defaults.traced else None), None
    with parts.part("traces"):
        read = None if said is None else _traces(said, environ, defaults, parts)
        traces = _way(read, said, environ, "TRACES", defaults.traces)
        if traces is None and read is not None and read.additional:  # these have endpoints that the resource names
            traces = dataclasses.replace(read, additional_only=True)
    return traces


def _metrics(
    spec: Mapping[str, Any], environ: Mapping[str, str], defaults: startup.Defaults, parts: partial.Whole
) -> metricsettings.MetricSettings:
    read, otlp = metricsettings.from_spec(spec, environ, defaults, parts), None
    with parts.part("metrics.otlp"):
        otlp = _way(read.otlp, spec.get("otlp"), environ, "METRICS", defaults.metrics)
    return dataclasses.replace(read, otlp=otlp)


def _logs(spec: Mapping[str, Any], environ: Mapping[str, str], parts: partial.Whole) -> logsettings.LogSettings:
    read, otlp = logsettings.from_spec(spec, environ, parts), None
    with parts.part("logs.otlp"):
        otlp = _way(read.otlp, spec.get("otlp"), environ, "LOGS", startup.ExporterDefaults())
    return dataclasses.replace(read, otlp=otlp)


def _way(
    exporter: _ExporterT | None,
    said: Mapping[str, Any] | None,
    environ: Mapping[str, str],
    signal: str,
    flags: startup.ExporterDefaults,
) -> _ExporterT | None:
    """One exporter: what the environment says of it is for an endpoint that neither resource nor flag names."""
    wanted = environment.exporters(environ, signal)
    if flags.endpoint or "endpoint" in (said or {}) or "otlp" in wanted:
        return exporter
    return _to_output(exporter, destination.STANDARD_OUTPUT) if "console" in wanted else None


def _to_output(exporter: _ExporterT | None, output: str) -> _ExporterT | None:
    if exporter is None:
        return None
    return dataclasses.replace(
        exporter, endpoint=output, output=output, insecure=True, tls=None, headers=(), files=environment.NO_FILES
    )


def _traces(
    spec: Mapping[str, Any], environ: Mapping[str, str], defaults: startup.Defaults, parts: partial.Whole
) -> TraceSettings:
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
    link, kept = spec.get("decisionLink"), spec.get("keep") or {}
    return TraceSettings(
        **destination.from_spec(spec, "traces", destination.Signal.TRACES, environ, defaults.traces),
        sampling_rate_per_million=rate,
        parent=ParentPolicy(parent),
        parent_traces_per_second=cap,
        keep=keeping.from_spec(kept if link is None else {"denied": True, **kept}, "traces.keep"),
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
        additional=_additional(spec.get("additional") or (), environ, parts),
        decision_link=None if link is None else decisionlink.parse(str(link), "traces.decisionLink"),
        sampling_rules=samplingrules.from_spec(
            spec.get("samplingRules") or (), "traces.samplingRules", tuple(Controller)
        ),
    )


def _additional(
    listed: Sequence[Mapping[str, Any]], environ: Mapping[str, str], parts: partial.Whole
) -> tuple[AdditionalDestination, ...]:
    found: dict[str, AdditionalDestination] = {}
    for at, spec in enumerate(listed):
        path, name = f"traces.additional[{at}]", spec.get("name")
        with parts.part(path):
            if not isinstance(name, str) or not name:
                raise errors.SettingsInvalid(f"{path}.name", "must be set")
            if name in found:
                raise errors.SettingsInvalid(f"{path}.name", f"{name!r} is there twice")
            if "endpoint" not in spec:
                raise errors.SettingsInvalid(f"{path}.endpoint", "must be set")
            found[name] = AdditionalDestination(
                **destination.from_spec(spec, path, destination.Signal.TRACES, environ), name=name
            )
    return tuple(found.values())


def _rate(spec: Mapping[str, Any], path: str) -> int | None:
    rate = spec.get("samplingRatePerMillion")
    if rate is None:
        return None
    if not isinstance(rate, int) or not 0 <= rate <= MILLION:
        raise errors.SettingsInvalid(f"{path}.samplingRatePerMillion", f"{rate!r} is not between 0 and {MILLION}")
    return rate
