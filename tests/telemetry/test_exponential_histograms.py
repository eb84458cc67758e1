"""Exponential histograms: pushed where they are asked for, beside explicit buckets that stay as they were."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import (
    cells,
    exponential,
    exponentialpoints,
    exposition,
    metricencoding,
    metricsettings,
    temporality,
)

SCOPE = InstrumentationScope("test")
LATENCY = cells.Description("duration_seconds", "how long", "s", ("kind", "resource_namespace"))
BASE = 2 ** (1 / (1 << exponentialpoints.SCALE))
durations = st.floats(0, 1e5, allow_subnormal=False)


class Counted:
    def __init__(self, histograms="exponential"):
        self.now = 0
        self.cells = cells.Cells(SCOPE, self.tick)
        self.latency = self.cells.histogram(LATENCY, (0.1, 1.0))
        self.configure(histograms)

    def tick(self):
        self.now += 100
        return self.now

    def configure(self, histograms="exponential", **metrics):
        self.cells.configure(metricsettings.from_spec({"otlp": {"histograms": histograms}, **metrics}))

    def record(self, *values, kind="Pod", namespace="a"):
        for value in values:
            self.latency.bind((kind, namespace)).record(value)

    def pushed(self):
        (metric,) = self.cells.read(exponential=True)
        return metric

    def scraped(self):
        (metric,) = self.cells.read()
        return metric


@pytest.fixture
def counted():
    return Counted()


@given(durations)
def test_a_value_is_in_the_bucket_whose_bounds_are_around_it(value):
    cell = exponential.Exponential(0)
    cell.record(value)
    point = cell.point({}, 1, [])
    assert (point.count, point.sum) == (1, value)
    if value <= exponentialpoints.ZERO_THRESHOLD:
        assert (point.zero_count, point.positive.bucket_counts) == (1, [])
        return
    assert point.positive.bucket_counts == [1]
    at = point.positive.offset
    assert BASE**at * (1 - 1e-9) <= value <= BASE ** (at + 1) * (1 + 1e-9)


@pytest.mark.parametrize("value", [2.0**-10, 0.5, 1.0, 2.0, 1024.0])
def test_a_bound_belongs_to_the_bucket_below(value):
    cell = exponential.Exponential(0)
    cell.record(value)
    assert cell.point({}, 1, []).positive.offset == int(math.log2(value)) * (1 << exponentialpoints.SCALE) - 1


@given(st.lists(durations, max_size=30), st.lists(durations, max_size=30))
def test_what_several_observed_is_what_one_would_have(first, second):
    one, other, both = (exponential.Exponential(0) for _ in range(3))
    for cell, values in ((one, first), (other, second), (both, first + second)):
        for value in values:
            cell.record(value)
    with temporality.Source.settling:
        one.absorb(other)
    merged, expected = one.point({}, 1, []), both.point({}, 1, [])
    assert merged.positive == expected.positive
    assert (merged.count, merged.zero_count) == (expected.count, expected.zero_count)
    assert merged.sum == pytest.approx(expected.sum)


def test_a_scrape_keeps_its_buckets_and_a_push_has_the_others(counted):
    counted.record(0.05, 0.5, 7.0)
    assert counted.scraped().data.data_points[0].bucket_counts == [1, 1, 1]
    assert isinstance(counted.pushed().data, sdk.ExponentialHistogram)
    assert "duration_seconds_bucket" in "".join(exposition.write(counted.cells.stream(), openmetrics=False))


def test_without_being_asked_for_they_are_not_kept():
    counted = Counted("explicit")
    counted.record(0.5)
    assert counted.latency.bind(("Pod", "a")).exponential is None
    assert isinstance(counted.pushed().data, sdk.Histogram)


def test_they_begin_when_they_are_asked_for_and_reset_nothing():
    counted = Counted("explicit")
    held = counted.latency.bind(("Pod", "a"))
    held.record(0.5)
    counted.configure("exponential")
    began = counted.now
    held.record(0.5)
    (point,) = counted.pushed().data.data_points
    assert (point.count, point.start_time_unix_nano) == (1, began)
    assert counted.scraped().data.data_points[0].count == 2
    counted.configure("explicit")
    assert counted.pushed().data.data_points[0].count == 2


def test_dropped_labels_add_them_up(counted):
    counted.record(0.5, namespace="a")
    counted.record(0.5, 0.5, namespace="b")
    counted.configure(exposure={"duration_seconds": {"dropLabels": ["resource_namespace"]}})
    (point,) = counted.pushed().data.data_points
    assert (point.count, point.positive.bucket_counts) == (3, [3])


def test_a_difference_has_what_came_since(counted):
    ledger = temporality.Ledger()
    counted.record(0.5, 0.001)
    first = counted.pushed()
    assert ledger.since(first).data.data_points[0].count == 2
    ledger.settle(first)
    assert ledger.since(counted.pushed()) is None
    counted.record(8.0, 0.0)
    news = ledger.since(counted.pushed()).data
    (point,) = news.data_points
    assert news.aggregation_temporality is sdk.AggregationTemporality.DELTA
    assert (point.count, point.zero_count, point.positive.bucket_counts) == (2, 1, [1])
    assert point.positive.offset == 3 * (1 << exponentialpoints.SCALE) - 1
    assert point.sum == pytest.approx(8.0)
    assert point.start_time_unix_nano == first.data.data_points[0].time_unix_nano


def test_a_receiver_reads_what_was_observed(counted):
    counted.record(0.0, 0.25, 0.25, 3.0)
    written = metricencoding.Encoder().encode(Resource({}), [metricencoding.Scoped(SCOPE, counted.pushed())])
    request = ExportMetricsServiceRequest.FromString(written)
    (metric,) = request.resource_metrics[0].scope_metrics[0].metrics
    told = metric.exponential_histogram
    (point,) = told.data_points
    assert told.aggregation_temporality == 2
    assert {each.key: each.value.string_value for each in point.attributes} == {
        "kind": "Pod",
        "resource_namespace": "a",
    }
    assert (point.count, point.sum, point.scale, point.zero_count) == (4, 3.5, exponentialpoints.SCALE, 1)
    assert point.zero_threshold == exponentialpoints.ZERO_THRESHOLD
    assert point.positive.offset == -2 * (1 << exponentialpoints.SCALE) - 1
    counts = list(point.positive.bucket_counts)
    assert (counts[0], counts[-1], sum(counts)) == (2, 1, 3)


def test_the_variable_of_opentelemetry_is_the_default():
    environ = {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"}
    assert metricsettings.from_spec({"otlp": {}}, environ).otlp.histograms is metricsettings.Histograms.EXPONENTIAL
    assert metricsettings.from_spec({"otlp": {}}).otlp.histograms is metricsettings.Histograms.EXPLICIT
