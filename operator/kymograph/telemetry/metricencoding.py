"""Metrics as OTLP's protobuf, written directly, for the reason that spans are (`encoding`).

The SDK's encoder takes some 80 us for a point with 13 labels, all of it while holding the interpreter: 2,000 series of
a counter and a histogram would be in the way of reviews for a third of a second in every push. A test holds what this
one writes against what the SDK's writes.

Field numbers: opentelemetry/proto/metrics/v1/metrics.proto.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.sdk.metrics import Exemplar, export

from kymograph.telemetry import exponentialpoints, wire

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.util.types import AnyValue

_MAX_REMEMBERED = 32_768

_signed64 = struct.Struct("<q").pack


class Scoped(NamedTuple):
    """A metric and the instrumentation scope it belongs to."""

    scope: "InstrumentationScope"
    metric: export.Metric


class Encoder:
    """Writes export requests. Used by one thread."""

    def __init__(self) -> None:
        self._remembered: dict[tuple[bytes, str, AnyValue], bytes] = {}

    def encode(self, resource: "Resource", metrics: Iterable[Scoped]) -> bytes:
        """Write an ExportMetricsServiceRequest of these metrics."""
        scopes: dict[InstrumentationScope, list[bytes]] = {}
        for scope, metric in metrics:
            scopes.setdefault(scope, []).append(wire.field(b"\x12", self._metric(metric)))
        written = b"".join(
            wire.field(
                b"\x12",
                b"".join((wire.field(b"\x0a", wire.scope(scope)), *encoded, wire.text(b"\x1a", scope.schema_url))),
            )
            for scope, encoded in scopes.items()
        )
        return wire.field(
            b"\x0a",
            wire.field(b"\x0a", wire.resource(resource)) + written + wire.text(b"\x1a", resource.schema_url),
        )

    def _metric(self, metric: export.Metric) -> bytes:
        encoded = (
            wire.text(b"\x0a", metric.name) + wire.text(b"\x12", metric.description) + wire.text(b"\x1a", metric.unit)
        )
        data = metric.data
        if isinstance(data, export.Histogram):
            points = b"".join(wire.field(b"\x0a", self._histogram(point)) for point in data.data_points)
            return encoded + wire.field(b"\x4a", points + _temporality(data))
        if isinstance(data, export.Sum):
            points = b"".join(
                wire.field(b"\x0a", self._number(point, point.start_time_unix_nano)) for point in data.data_points
            )
            points += _temporality(data) + (b"\x18\x01" if data.is_monotonic else b"")
            return encoded + wire.field(b"\x3a", points)
        if isinstance(data, export.ExponentialHistogram):
            points = b"".join(wire.field(b"\x0a", self._exponential(point)) for point in data.data_points)
            return encoded + wire.field(b"\x52", points + _temporality(data))
        points = b"".join(wire.field(b"\x0a", self._number(point, None)) for point in data.data_points)
        return encoded + wire.field(b"\x2a", points)

    def _number(self, point: export.NumberDataPoint, start: int | None) -> bytes:
        return b"".join(
            (
                _times(start, point.time_unix_nano),
                _value(b"\x21", b"\x31", point.value),
                *(wire.field(b"\x2a", _exemplar(each)) for each in point.exemplars),
                self._attributes(b"\x3a", point.attributes),
            )
        )

    def _histogram(self, point: export.HistogramDataPoint) -> bytes:
        """A histogram's point; its least and largest value are not kept, and optional."""
        counts, bounds = point.bucket_counts, point.explicit_bounds
        return b"".join(
            (
                _times(point.start_time_unix_nano, point.time_unix_nano),
                b"\x21" + wire.fixed64(point.count) if point.count else b"",
                b"\x29" + wire.double(point.sum),
                wire.field(b"\x32", struct.pack(f"<{len(counts)}Q", *counts)) if counts else b"",
                wire.field(b"\x3a", struct.pack(f"<{len(bounds)}d", *bounds)) if bounds else b"",
                *(wire.field(b"\x42", _exemplar(each)) for each in point.exemplars),
                self._attributes(b"\x4a", point.attributes),
            )
        )

    def _exponential(self, point: export.ExponentialHistogramDataPoint) -> bytes:
        """An exponential histogram's point, of durations: there are none below zero."""
        return b"".join(
            (
                self._attributes(b"\x0a", point.attributes),
                _times(point.start_time_unix_nano, point.time_unix_nano),
                b"\x21" + wire.fixed64(point.count) if point.count else b"",
                b"\x29" + wire.double(point.sum),
                b"\x30" + _signed(point.scale),
                b"\x39" + wire.fixed64(point.zero_count) if point.zero_count else b"",
                wire.field(b"\x42", _buckets(point.positive)) if point.positive.bucket_counts else b"",
                *(wire.field(b"\x5a", _exemplar(each)) for each in point.exemplars),
                b"\x71" + wire.double(exponentialpoints.ZERO_THRESHOLD),
            )
        )

    def _attributes(self, tag: bytes, attributes: "Mapping[str, AnyValue] | None") -> bytes:
        remembered = self._remembered
        parts = []
        for key, value in (attributes or {}).items():
            if isinstance(value, str):
                encoded = remembered.get((tag, key, value))
                if encoded is None:
                    if len(remembered) >= _MAX_REMEMBERED:
                        remembered.clear()
                    encoded = remembered[tag, key, value] = wire.field(tag, wire.key_value(key, value))
            else:
                encoded = wire.field(tag, wire.key_value(key, value))
            parts.append(encoded)
        return b"".join(parts)


def _signed(number: int) -> bytes:
    """A sint32: zigzag, so that small negative numbers are short."""
    return wire.varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _buckets(buckets: export.Buckets) -> bytes:
    counts = b"".join(map(wire.varint, buckets.bucket_counts))
    return b"\x08" + _signed(buckets.offset) + wire.field(b"\x12", counts)


def _temporality(data: export.Sum | export.Histogram | export.ExponentialHistogram) -> bytes:
    return b"\x10" + wire.SHORT[data.aggregation_temporality.value]


def _times(start: int | None, time: int) -> bytes:
    return (b"\x11" + wire.fixed64(start) if start else b"") + (b"\x19" + wire.fixed64(time) if time else b"")


def _value(double: bytes, integer: bytes, value: float) -> bytes:
    return integer + _signed64(value) if isinstance(value, int) else double + wire.double(value)


def _exemplar(exemplar: Exemplar) -> bytes:
    return b"".join(
        (
            b"\x11" + wire.fixed64(exemplar.time_unix_nano) if exemplar.time_unix_nano else b"",
            _value(b"\x19", b"\x31", exemplar.value),
            b"\x22\x08" + exemplar.span_id.to_bytes(8, "big") if exemplar.span_id else b"",
            b"\x2a\x10" + exemplar.trace_id.to_bytes(16, "big") if exemplar.trace_id else b"",
            wire.attributes(b"\x3a", exemplar.filtered_attributes),
        )
    )
