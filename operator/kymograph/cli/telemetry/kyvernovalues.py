"""The telemetry of Kyverno's Helm chart as a TracingConfiguration.

Kyverno's four controllers are configured apart, each with a receiver of its own; here one resource speaks for all. What
they have in common becomes the resource, what one of them does otherwise is noted as left out, never averaged. A map
that the values do not have means the chart's own: give all that is in force (`helm get values --all`).
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from kymograph.cli import telemetryflags
from kymograph.cli.telemetry import kyvernoarguments, kyvernometrics, kyvernovariables, schema
from kymograph.cli.telemetry.kyvernometrics import Note, Unreadable
from kymograph.model import otlpexporter
from kymograph.model import tracingconfiguration as model
from kymograph.telemetry import defaults, destination, settings

_VALUES = {
    "admissionController": "admission",
    "backgroundController": "background",
    "cleanupController": "cleanup",
    "reportsController": "reports",
}

_EVERYTHING = 1_000_000
_METRICS_PORT = 8000

_Told = TypeVar("_Told")

_CERTIFICATE = "kymograph-metrics-tls"
"""The Secret of the certificate that metrics are served with: Kyverno makes its own, whose name nobody chooses."""

_RUNTIME_METRICS = (None, "", "0", ":8080")
"""Where Kyverno's second server of metrics is unless somebody chose a place for it."""


def translate(
    values: Mapping[str, Any], metrics: kyvernometrics.Wanted | None, left_out: Note, to_do: Note
) -> dict[str, Any]:
    """Make a TracingConfiguration.

    Args:
        values: Helm values; empty where only the ConfigMap is given.
        metrics: What the ConfigMap says; None for `metricsConfig` of the values.
        left_out: Takes the keys that have no counterpart, and why.
        to_do: Takes what the result needs besides itself.

    Raises:
        Unreadable: A value is not what Kyverno reads.
        SettingsInvalid: What Kyverno is told cannot be used, such as an address that is none.
    """
    controllers = {key: kyvernoarguments.applied(key, _map(values, key)) for key in _VALUES}
    spec: dict[str, Any] = {}
    traces = _traces(controllers, left_out, to_do)
    if traces is not None:
        spec["traces"] = traces
    metering = _metering(controllers, left_out, to_do)
    config = metrics if metrics is not None else kyvernometrics.of_values(_map(values, "metricsConfig"))
    spec["metrics"] = {**metering, "prefix": "kyverno_", **kyvernometrics.fields(config, left_out)}
    features = _features(values, controllers, left_out)
    if logs := _logs(_map(features, "logging", "features")):
        spec["logs"] = logs
    _around(controllers, left_out, to_do)
    _beside(values, features, left_out, to_do)
    settings.from_spec(spec)  # raises where Kyverno's own value cannot be used
    for field, reason in schema.problems(
        spec, model.TRACING_CONFIGURATION.versions[0].schema["properties"]["spec"], ""
    ):
        raise Unreadable(f"it comes to {field.removeprefix('.')}, which an API server refuses: {reason}")
    return {**model.default(), "spec": spec}


def _traces(controllers: Mapping[str, Mapping[str, Any]], left_out: Note, to_do: Note) -> dict[str, Any] | None:
    """`spec.traces`; None where no controller traces."""
    told = {key: _map(values, "tracing", key) for key, values in controllers.items()}
    traced = {key: each for key, each in told.items() if each.get("enabled")}
    if not traced:
        return None
    exporters = {key: _exporter(each.get("address"), each.get("port"), 4317, each) for key, each in traced.items()}
    common = _common(exporters, "tracing", left_out)
    _needs_label(common, to_do)
    off = {_VALUES[key]: {"enabled": False} for key in told if key not in traced and controllers[key]}
    rates = {key: kyvernovariables.sampling_rate(_variables(key, controllers[key])) for key in traced}
    rates = {key: _EVERYTHING if rate is None else rate for key, rate in rates.items()}
    made = {**common, "samplingRatePerMillion": _common(rates, "extraEnvVars: OTEL_TRACES_SAMPLER", left_out)}
    return {**made, "controllers": off} if off else made


def _metering(controllers: Mapping[str, Mapping[str, Any]], left_out: Note, to_do: Note) -> dict[str, Any]:
    """`spec.metrics` without what `metricsConfig` says."""
    made: dict[str, dict[str, Any]] = {}
    for key, values in controllers.items():
        metering = _map(values, "metering", key)
        if not values and key != "admissionController":
            continue  # as the chart has it, which is as the admission controller's is where nobody says otherwise
        way = metering.get("config") or "prometheus"
        if metering.get("disabled"):
            made[key] = {"prometheus": {"enabled": False}}
        elif way == "grpc":
            to = _exporter(metering.get("collector") or telemetryflags.COLLECTOR, metering.get("port"), 8000, metering)
            made[key] = {"prometheus": {"enabled": False}, "otlp": to}
        elif way == "prometheus":
            made[key] = {"prometheus": {"enabled": True, "port": _port(metering.get("port"), _METRICS_PORT)}}
            certificate = metering.get(kyvernoarguments.TLS_SECRET) or (metering.get("secure") and _CERTIFICATE)
            if certificate:
                made[key]["prometheus"]["tls"] = {"certificateSecretRef": {"name": str(certificate)}}
        else:
            raise Unreadable(f"{key}.metering.config: {way!r} is neither prometheus nor grpc")
    common = _common(made, "metering", left_out)
    _around_scrapes(common["prometheus"], to_do)
    _needs_label(common.get("otlp") or {}, to_do)
    return common


def _around_scrapes(prometheus: Mapping[str, Any], to_do: Note) -> None:
    """What the manifests do not do by themselves for metrics on another port, or over TLS."""
    if prometheus.get("port", _METRICS_PORT) != _METRICS_PORT:
        to_do(
            f"port {prometheus['port']}",
            "write it as the containerPort `metrics` into manifests/operator.yaml, and as `prometheus.io/port` and the"
            " port of kymograph-metrics into manifests/services.yaml",
        )
    if "tls" in prometheus:
        to_do(
            f"Secret {prometheus['tls']['certificateSecretRef']['name']}",
            "make it in the operator's namespace, with tls.crt and tls.key for the Service kymograph-metrics,"
            f" and label it {otlpexporter.SECRET_LABEL}=true",
        )
        to_do("scrapes over TLS", "kubectl apply -k manifests/monitoring-secured, in place of manifests/monitoring")


def _common(made: Mapping[str, _Told], what: str, left_out: Note) -> _Told:
    """What the first controller has; others that differ are left out."""
    first = next(iter(made))
    for key, each in made.items():
        if each != made[first]:
            left_out(f"{key}.{what}", f"it differs from {first}'s, and one TracingConfiguration speaks for all")
    return made[first]


def _exporter(address: Any, port: Any, default_port: int, values: Mapping[str, Any]) -> dict[str, Any]:
    host = str(address or "localhost")
    bracketed = f"[{host}]" if re.fullmatch(r"[0-9A-Fa-f]*(:[0-9A-Fa-f.]*){2,}", host) else host
    made: dict[str, Any] = {"endpoint": f"{bracketed}:{_port(port, default_port)}"}
    if creds := values.get("creds"):
        return {**made, "tls": {"caSecretRef": {"name": str(creds), "key": defaults.CA_ENTRY}}}
    return made if destination.is_loopback(host) else {**made, "insecure": True}


def _port(port: Any, default: int) -> int:
    if port in (None, ""):
        return default
    try:
        return int(port)
    except (TypeError, ValueError) as error:
        raise Unreadable(f"{port!r} is no port") from error


def _logs(logging: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    if logging.get("format"):
        made["format"] = str(logging["format"])
    verbosity = logging.get("verbosity")
    if verbosity is not None:
        made["level"] = "debug" if _port(verbosity, 2) >= telemetryflags.DEBUG_FROM else "info"
    return made


def _needs_label(exporter: Mapping[str, Any], to_do: Note) -> None:
    secret = ((exporter.get("tls") or {}).get("caSecretRef") or {}).get("name")
    if secret:
        to_do(
            f"Secret {secret}", f"copy it into the operator's namespace and label it {otlpexporter.SECRET_LABEL}=true"
        )


def _around(controllers: Mapping[str, Mapping[str, Any]], left_out: Note, to_do: Note) -> None:
    """What stands around telemetry in the values and is not in the resource."""
    for key, values in controllers.items():
        if _map(values, "serviceMonitor", key).get("enabled"):
            to_do(f"{key}.serviceMonitor", "kubectl apply -k manifests/monitoring, which has one")
        service = _map(values, "metricsService", key)
        if service.get("type", "ClusterIP") != "ClusterIP" or service.get("create") is False:
            left_out(f"{key}.metricsService", "the Service kymograph-metrics is part of the manifests")
        for name in kyvernoarguments.given(key, values):
            if name in kyvernoarguments.BESIDE:
                to_do(f"{key}: flag --{name}", "give it to kymograph run, which takes it likewise")
        kyvernovariables.note(key, _variables(key, values), left_out, to_do)


def _variables(key: str, values: Mapping[str, Any]) -> dict[str, str | None]:
    return kyvernovariables.named(kyvernoarguments.holders(key, values))


def _features(
    values: Mapping[str, Any], controllers: Mapping[str, Mapping[str, Any]], left_out: Note
) -> Mapping[str, Any]:
    """The features of the admission controller; what others have otherwise about logs is left out."""
    features, made = _map(values, "features"), {}
    for key, own in controllers.items():
        override = _map(own, "featuresOverride", key)
        logging = {**_map(features, "logging", "features"), **_map(override, "logging", key)}
        made[key] = {**features, **override, "logging": logging}
    _common({key: each["logging"] for key, each in made.items()}, "featuresOverride.logging", left_out)
    return made["admissionController"]


def _beside(values: Mapping[str, Any], features: Mapping[str, Any], left_out: Note, to_do: Note) -> None:
    """What the chart has of telemetry beside the controllers."""
    for key in ("grafana", "prometheusRule"):
        if _map(values, key).get("enabled"):
            to_do(key, "kubectl apply -k manifests/monitoring, which has dashboards and rules")
    for key in ("dumpPayload", "dumpPatches"):
        if _map(features, key, "features").get("enabled"):
            left_out(f"features.{key}", "what is asked and answered is not logged; traces say what was decided")
    if _map(features, "controllerRuntimeMetrics", "features").get("bindAddress") not in _RUNTIME_METRICS:
        left_out("features.controllerRuntimeMetrics", "there is one server of metrics")


def _map(values: Mapping[str, Any], key: str, within: str = "") -> Mapping[str, Any]:
    return kyvernometrics.mapping(values.get(key), f"{within}{'.' if within else ''}{key}")
