"""What the metrics are told to do: the `metrics` part of a TracingConfiguration, parsed once.

Here only the form is judged. Which metrics and labels there are is known to the cells, which refuse names they do not
know (`cells.Cells.check`).
"""

import dataclasses
import enum
import itertools
import math
import types
from collections.abc import Iterable, Mapping
from typing import Any

from kymograph.apimachinery import duration, wildcard
from kymograph.telemetry import defaults as startup
from kymograph.telemetry import destination, environment, errors, partial

PREFIXES = ("", "kyverno_")
"""The prefixes there are: none, or Kyverno's, under which its dashboards and alerts work unchanged."""

AUTHORIZATIONS = ("none", "kubernetes")
"""Who may scrape: everybody, or whoever the API server lets `get` the path `/metrics`."""

CARDINALITY_LIMIT = 2_000
"""Series of one metric, the overflow series among them, as OpenTelemetry's SDKs have it by default."""

LEAST_CARDINALITY_LIMIT = 10
MOST_CARDINALITY_LIMIT = 100_000

INTERVAL = 60.0
LEAST_INTERVAL = 1.0
MOST_INTERVAL = 3_600.0
"""Seconds between two pushes."""

_INTERVAL_VARIABLE = "OTEL_METRIC_EXPORT_INTERVAL"
_HISTOGRAM_VARIABLE = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
_TEMPORALITY_VARIABLE = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"


class Temporality(enum.StrEnum):
    """What a pushed number counts from."""

    CUMULATIVE = "cumulative"
    """The start of its series."""
    DELTA = "delta"
    """The last number that was delivered."""


class Histograms(enum.StrEnum):
    """In which buckets distributions are pushed."""

    EXPLICIT = "explicit"
    """Those of the metric, as a scrape has them."""
    EXPONENTIAL = "exponential"
    """Eight for each doubling, of any duration."""


@dataclasses.dataclass(frozen=True, slots=True)
class PushSettings(destination.ExporterSettings):
    """Where metrics are pushed, and how.

    Attributes:
        interval: Seconds between two pushes.
        temporality: What the numbers count from.
        histograms: In which buckets distributions are pushed.
    """

    path: str = destination.Signal.METRICS.value
    interval: float = INTERVAL
    temporality: Temporality = Temporality.CUMULATIVE
    histograms: Histograms = Histograms.EXPLICIT


@dataclasses.dataclass(frozen=True, slots=True)
class Exposure:
    """How one metric is shown.

    Attributes:
        enabled: Whether it is shown at all; it is counted either way.
        drop_labels: Labels that are left out; series that differ in nothing else are one. None: the optional ones, but
            for those that `MetricSettings.by_namespace` asks for.
        buckets: Ascending upper bounds of a histogram, without infinity; None for its own.
    """

    enabled: bool = True
    drop_labels: frozenset[str] | None = None
    buckets: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class NamespaceFilter:
    """Whose resources are counted, by patterns of namespaces' names with `*` and `?`.

    Attributes:
        include: A namespace must match one of these; none admits all.
        exclude: A namespace must match none of these, whatever includes it.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def excludes(self) -> bool:
        """Whether there may be namespaces that are not counted."""
        return bool(self.include or self.exclude)

    def admits(self, namespace: str) -> bool:
        """Whether what happens to a resource in this namespace is counted; without a namespace it is."""
        if not namespace:
            return True
        included = not self.include or _matches(self.include, namespace)
        return included and not _matches(self.exclude, namespace)


EVERYWHERE = NamespaceFilter()


@dataclasses.dataclass(frozen=True, slots=True)
class MetricSettings:
    """How metrics are offered.

    Attributes:
        prometheus_enabled: `/metrics` is served.
        prometheus_port: The port it is served on.
        prometheus_tls: The Secret with the certificate they are served with; empty for plain HTTP.
        prometheus_authorized: Scrapers have to show a token.
        otlp: How they are pushed; None for not at all.
        prefix: Stands before the names of the metrics that Kyverno has too; one of `PREFIXES`.
        exposure: How metrics are shown, by their names as the configuration spells them.
        by_namespace: Metrics show the label `resource_namespace`.
        unified: Metrics about policies have those of every kind; else only those that Kyverno has in them.
        namespaces: Whose resources are counted, in metrics that have that label, shown or not.
        cardinality_limit: Series of one metric at most.
        exemplars: Observations name the traces that are kept of them.
    """

    prometheus_enabled: bool = True
    prometheus_port: int = 8000
    prometheus_tls: str = ""
    prometheus_authorized: bool = False
    otlp: PushSettings | None = None
    prefix: str = ""
    by_namespace: bool = False
    unified: bool = True
    exposure: Mapping[str, Exposure] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))
    namespaces: NamespaceFilter = EVERYWHERE
    cardinality_limit: int = CARDINALITY_LIMIT
    exemplars: bool = True


def from_spec(
    spec: Mapping[str, Any],
    environ: Mapping[str, str] = types.MappingProxyType({}),
    defaults: startup.Defaults = startup.NONE,
    parts: partial.Whole = partial.WHOLE,
) -> MetricSettings:
    """Read `spec.metrics` of a TracingConfiguration.

    Args:
        spec: That part of the spec, as decoded from JSON.
        environ: Environment variables: OpenTelemetry's are the defaults of what the spec does not say about a push.
        defaults: What the process was started with.
        parts: What becomes of a part that cannot be used.

    Raises:
        SettingsInvalid: A field has a value that cannot be used.
    """
    served: dict[str, Any] = {"prometheus_enabled": False}
    prefix, limit, otlp, exemplars = "", CARDINALITY_LIMIT, None, True
    with parts.part("metrics.prometheus"):
        served = _served(spec.get("prometheus") or {}, defaults)
    with parts.part("metrics.prefix"):
        prefix = _prefix(spec.get("prefix", ""))
    with parts.part("metrics.cardinalityLimit"):
        limit = _limit(spec.get("cardinalityLimit", CARDINALITY_LIMIT))
    with parts.part("metrics.otlp"):
        pushed = spec.get("otlp", {} if defaults.pushed else None)
        otlp = None if pushed is None else _push(pushed, environ, defaults.metrics)
    exposure: dict[str, Exposure] = {}
    for name, shown in (spec.get("exposure") or {}).items():
        with parts.part(f"metrics.exposure[{name}]"):
            exposure[name] = _exposure(name, shown or {})
    with parts.part("OTEL_METRICS_EXEMPLAR_FILTER"):
        exemplars = environment.exemplars(environ) if defaults.exemplars is None else defaults.exemplars
    namespaces = spec.get("namespaces") or {}
    return MetricSettings(
        **served,
        otlp=otlp,
        prefix=prefix,
        by_namespace=bool(spec.get("byNamespace", bool(prefix))),
        unified=bool(spec.get("unified", not prefix)),
        exposure=types.MappingProxyType(exposure),
        namespaces=NamespaceFilter(
            include=tuple(map(str, namespaces.get("include") or ())),
            exclude=tuple(map(str, namespaces.get("exclude") or ())),
        ),
        cardinality_limit=limit,
        exemplars=exemplars,
    )


def _push(spec: Mapping[str, Any], environ: Mapping[str, str], flags: startup.ExporterDefaults) -> PushSettings:
    path = "metrics.otlp"
    temporality = spec.get("temporality") or _preferred_temporality(environ)
    if temporality not in tuple(Temporality):
        raise errors.SettingsInvalid(f"{path}.temporality", f"{temporality!r} is none of {', '.join(Temporality)}")
    histograms = spec.get("histograms") or _preferred_histograms(environ)
    if histograms not in tuple(Histograms):
        raise errors.SettingsInvalid(f"{path}.histograms", f"{histograms!r} is none of {', '.join(Histograms)}")
    return PushSettings(
        **destination.from_spec(spec, path, destination.Signal.METRICS, environ, flags),
        interval=_interval(spec.get("interval"), environ),
        temporality=Temporality(temporality),
        histograms=Histograms(histograms),
    )


def _prefix(prefix: Any) -> str:
    if prefix not in PREFIXES:
        raise errors.SettingsInvalid("metrics.prefix", f"{prefix!r} is none of {', '.join(map(repr, PREFIXES))}")
    return str(prefix)


def _limit(limit: Any) -> int:
    if not isinstance(limit, int) or not LEAST_CARDINALITY_LIMIT <= limit <= MOST_CARDINALITY_LIMIT:
        raise errors.SettingsInvalid(
            "metrics.cardinalityLimit",
            f"{limit!r} is not between {LEAST_CARDINALITY_LIMIT} and {MOST_CARDINALITY_LIMIT}",
        )
    return limit


def _served(spec: Mapping[str, Any], defaults: startup.Defaults) -> dict[str, Any]:
    """Whether and where metrics are served, with which Secret, and whether scrapers have to show a token."""
    port = spec.get("port", defaults.prometheus_port)
    if not isinstance(port, int) or not 0 < port < 65536:
        raise errors.SettingsInvalid("metrics.prometheus.port", f"{port!r} is not a port")
    tls = str(((spec.get("tls") or {}).get("certificateSecretRef") or {}).get("name") or "")
    authorization = spec.get("authorization", "none")
    if authorization not in AUTHORIZATIONS:
        raise errors.SettingsInvalid(
            "metrics.prometheus.authorization", f"{authorization!r} is none of {', '.join(AUTHORIZATIONS)}"
        )
    if "tls" in spec and not tls:
        raise errors.SettingsInvalid("metrics.prometheus.tls", "certificateSecretRef.name must be given")
    if authorization == "kubernetes" and not tls:
        raise errors.SettingsInvalid("metrics.prometheus.authorization", "a token must not be shown without tls")
    return {
        "prometheus_enabled": bool(spec.get("enabled", defaults.prometheus)),
        "prometheus_port": port,
        "prometheus_tls": tls if "tls" in spec else defaults.prometheus_tls,
        "prometheus_authorized": authorization == "kubernetes",
    }


def _interval(text: Any, environ: Mapping[str, str]) -> float:
    where = "metrics.otlp.interval"
    if text is None:
        milliseconds = environ.get(_INTERVAL_VARIABLE, "").strip()
        if not milliseconds:
            return INTERVAL
        if not (milliseconds.isascii() and milliseconds.isdigit()):
            raise errors.SettingsInvalid(_INTERVAL_VARIABLE, f"{milliseconds!r} is no number of milliseconds")
        return min(max(int(milliseconds) / 1e3, LEAST_INTERVAL), MOST_INTERVAL)
    try:
        seconds = duration.parse(str(text)) / duration.SECOND
    except ValueError as error:
        raise errors.SettingsInvalid(where, str(error)) from error
    if not LEAST_INTERVAL <= seconds <= MOST_INTERVAL:
        raise errors.SettingsInvalid(where, f"{text} is not between 1s and 1h")
    return seconds


def _preferred_temporality(environ: Mapping[str, str]) -> str:
    """What the variable prefers; `lowmemory` is `delta` here: it differs in what an SDK remembers of its callbacks."""
    values = {"": "cumulative", "cumulative": "cumulative", "delta": "delta", "lowmemory": "delta"}
    return _preferred(_TEMPORALITY_VARIABLE, values, environ)


def _preferred_histograms(environ: Mapping[str, str]) -> str:
    values = {"explicit_bucket_histogram": "explicit", "base2_exponential_bucket_histogram": "exponential"}
    return _preferred(_HISTOGRAM_VARIABLE, {"": "explicit", **values}, environ)


def _preferred(variable: str, values: Mapping[str, str], environ: Mapping[str, str]) -> str:
    written = environ.get(variable, "").strip().lower()
    if written not in values:
        raise errors.SettingsInvalid(variable, f"{written!r} is none of {', '.join(filter(None, values))}")
    return values[written]


def _exposure(name: str, spec: Mapping[str, Any]) -> Exposure:
    path = f"metrics.exposure[{name}]"
    buckets = spec.get("buckets")
    if buckets is not None:
        buckets = tuple(_bound(bound, path) for bound in buckets)
        if not buckets or any(low >= high for low, high in itertools.pairwise(buckets)):
            raise errors.SettingsInvalid(f"{path}.buckets", "must be ascending upper bounds, at least one")
    return Exposure(
        enabled=bool(spec.get("enabled", True)),
        drop_labels=None if spec.get("dropLabels") is None else frozenset(map(str, spec["dropLabels"])),
        buckets=buckets,
    )


def _bound(bound: Any, path: str) -> float:
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
        raise errors.SettingsInvalid(f"{path}.buckets", f"{bound!r} is not a finite number")
    return float(bound)


def _matches(patterns: Iterable[str], namespace: str) -> bool:
    return any(wildcard.match(pattern, namespace) for pattern in patterns)
