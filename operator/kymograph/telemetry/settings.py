"""What telemetry is told to do: the part of a TracingConfiguration that this room acts on, parsed once.

The CRD's own rules reject most wrong values at admission; what they cannot see is refused here with the field's path.
Secrets, certificates and headers are not here: they are read by whoever may read Secrets, and arrive resolved.
"""

import dataclasses
import enum
import ipaddress
import types
from collections.abc import Mapping
from typing import Any

from kymograph.telemetry import errors

DEFAULT_ENDPOINT = "localhost:4317"
"""Where OTLP over gRPC is received by default, as in the kubelet's and API server's TracingConfiguration."""

MILLION = 1_000_000


class ParentPolicy(enum.StrEnum):
    """What a `traceparent` on an incoming request means."""

    RESPECT = "respect"
    """The request continues the caller's trace and follows its decision."""
    LINK = "link"
    """The request starts a trace of its own, linked to the caller's."""
    IGNORE = "ignore"
    """The request starts a trace of its own."""


@dataclasses.dataclass(frozen=True, slots=True)
class TraceSettings:
    """Where spans go and which are made.

    Attributes:
        endpoint: `host:port` of an OTLP receiver.
        insecure: Plaintext instead of TLS.
        sampling_rate_per_million: How many of a million requests without a parent are traced; 0 traces only what the
            parent sampled.
        parent: What a `traceparent` on an incoming request means.
    """

    endpoint: str = DEFAULT_ENDPOINT
    insecure: bool = False
    sampling_rate_per_million: int = 0
    parent: ParentPolicy = ParentPolicy.RESPECT

    @property
    def plaintext(self) -> bool:
        """Whether the connection is without TLS: asked for, or implied by a loopback endpoint."""
        return self.insecure or _is_loopback(_host(self.endpoint))


@dataclasses.dataclass(frozen=True, slots=True)
class MetricSettings:
    """How metrics are offered: `prometheus_port` is the port `/metrics` is served on when enabled."""

    prometheus_enabled: bool = True
    prometheus_port: int = 8000


@dataclasses.dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """All of it. No `traces` means that no span is made or sent, which is the shipped default."""

    traces: TraceSettings | None = None
    metrics: MetricSettings = dataclasses.field(default_factory=MetricSettings)
    resource_attributes: Mapping[str, str] = dataclasses.field(default_factory=lambda: types.MappingProxyType({}))


def from_spec(spec: Mapping[str, Any]) -> TelemetrySettings:
    """Read the `spec` of a TracingConfiguration.

    Args:
        spec: The resource's `spec`, as decoded from JSON. `traces: {}` means the default endpoint.

    Returns:
        The settings; fields that this room does not act on are not looked at.

    Raises:
        SettingsInvalid: A field has a value that cannot be used.
    """
    traces = spec.get("traces")
    return TelemetrySettings(
        traces=None if traces is None else _traces(traces),
        metrics=_metrics(spec.get("metrics") or {}),
        resource_attributes=types.MappingProxyType(
            {str(key): str(value) for key, value in (spec.get("resourceAttributes") or {}).items()}
        ),
    )


def _traces(spec: Mapping[str, Any]) -> TraceSettings:
    endpoint = spec.get("endpoint", DEFAULT_ENDPOINT)
    if not isinstance(endpoint, str) or not _is_host_and_port(endpoint):
        raise errors.SettingsInvalid("traces.endpoint", f"{endpoint!r} is not host:port")
    rate = spec.get("samplingRatePerMillion", 0)
    if not isinstance(rate, int) or not 0 <= rate <= MILLION:
        raise errors.SettingsInvalid("traces.samplingRatePerMillion", f"{rate!r} is not between 0 and {MILLION}")
    parent = spec.get("parent", ParentPolicy.RESPECT)
    if parent not in tuple(ParentPolicy):
        raise errors.SettingsInvalid("traces.parent", f"{parent!r} is none of {', '.join(ParentPolicy)}")
    return TraceSettings(
        endpoint=endpoint,
        insecure=bool(spec.get("insecure", False)),
        sampling_rate_per_million=rate,
        parent=ParentPolicy(parent),
    )


def _metrics(spec: Mapping[str, Any]) -> MetricSettings:
    prometheus = spec.get("prometheus") or {}
    port = prometheus.get("port", 8000)
    if not isinstance(port, int) or not 0 < port < 65536:
        raise errors.SettingsInvalid("metrics.prometheus.port", f"{port!r} is not a port")
    return MetricSettings(prometheus_enabled=bool(prometheus.get("enabled", True)), prometheus_port=port)


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].removeprefix("[").removesuffix("]")


def _is_host_and_port(endpoint: str) -> bool:
    host, _, port = endpoint.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = bool(host) and not any(character in host for character in ":/@ []")
    return (bracketed or bare) and port.isascii() and port.isdigit() and 0 < int(port) < 65536


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
