"""What our encoder of metrics writes, a receiver reads as it reads what the SDK's encoder writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import cells, families, metricencoding

RESOURCE = Resource({"service.name": "kymograph", "process.pid": 7}, "https://opentelemetry.io/schemas/1.30.0")
SCOPES = (
    InstrumentationScope("kymograph", "1.2", "https://opentelemetry.io/schemas/1.30.0"),
    InstrumentationScope("b"),
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
values = st.one_of(text, st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False))
attributes = st.dictionaries(text.filter(bool), values, max_size=6)
times = st.integers(0, (1 << 63) - 1)
numbers = st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=False))
exemplars = st.lists(
    st.builds(
        Exemplar,
        attributes,
        numbers,
        times,
        st.none() | st.integers(1, (1 << 64) - 1),
        st.none() | st.integers(1, (1 << 128) - 1),
    ).filter(lambda each: (each.span_id is None) == (each.trace_id is None)),
    max_size=2,
)
number_points = st.lists(
    st.builds(sdk.NumberDataPoint, attributes, times, times, numbers, exemplars), min_size=1, max_size=3
)
bounds = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4)
histogram_points = st.lists(
    st.builds(
        lambda described, start, end, limits, total, shown: sdk.HistogramDataPoint(
            described, start, end, len(limits) + 1, total, [1] * (len(limits) + 1), limits, None, None, exemplars=shown
        ),
        attributes,
        times,
        times,
        bounds,
        st.floats(allow_nan=False),
        exemplars,
    ),
    min_size=1,  # of data without points the SDK writes nothing at all
    max_size=3,
)
temporalities = st.sampled_from([sdk.AggregationTemporality.CUMULATIVE, sdk.AggregationTemporality.DELTA])
data = st.one_of(
    st.builds(sdk.Sum, number_points, temporalities, st.booleans()),
    st.builds(sdk.Gauge, number_points),
    st.builds(sdk.Histogram, histogram_points, temporalities),
)
metrics = st.lists(st.tuples(st.sampled_from(SCOPES), st.builds(sdk.Metric, text, text, text, data)), max_size=4)


def decoded(encoder, scoped):
    return ExportMetricsServiceRequest.FromString(encoder.encode(RESOURCE, scoped))


def by_the_sdk(scoped):
    scopes = [
        sdk.ScopeMetrics(scope, [metric for belongs, metric in scoped if belongs == scope], scope.schema_url)
        for scope in dict.fromkeys(scope for scope, _ in scoped)
    ]
    return encode_metrics(sdk.MetricsData([sdk.ResourceMetrics(RESOURCE, scopes, RESOURCE.schema_url)]))


@given(metrics)
def test_both_encoders_say_the_same(pairs):
    scoped = [metricencoding.Scoped(*each) for each in pairs]
    assert decoded(metricencoding.Encoder(), scoped) == by_the_sdk(scoped)


@pytest.mark.parametrize("time", range(3))
def test_what_is_remembered_is_written_again(time):
    """The second request of an encoder says what the first said."""
    registry = cells.Cells(SCOPES[0], lambda: 7)
    counter = registry.counter(cells.Description("requests_total", "how many", "{request}", ("kind", "namespace")))
    histogram = registry.histogram(cells.Description("seconds", "how long", "s", ("kind",)))
    for kind in ("Pod", "Service", ""):
        counter.bind((kind, "default")).add(3)
        histogram.bind((kind,)).record(0.3)
        histogram.bind((kind,)).exemplify(cells.Mark(0.3, 5, 0xABC, 0xDEF))
    scoped = [metricencoding.Scoped(SCOPES[0], metric) for metric in registry.read()]
    encoder = metricencoding.Encoder()
    for _ in range(time):
        encoder.encode(RESOURCE, scoped)
    assert decoded(encoder, scoped) == by_the_sdk(scoped)


def test_the_overflow_series_is_marked_as_the_sdk_marks_it():
    point = sdk.NumberDataPoint(families.OVERFLOW, 0, 1, 3)
    metric = sdk.Metric("requests", "", "", sdk.Sum([point], sdk.AggregationTemporality.CUMULATIVE, True))
    request = decoded(metricencoding.Encoder(), [metricencoding.Scoped(SCOPES[0], metric)])
    (attribute,) = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0].attributes
    assert (attribute.key, attribute.value.bool_value) == ("otel.metric.overflow", True)
