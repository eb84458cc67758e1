"""Our writer of Prometheus' formats says what the client library's writer says."""

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from prometheus_client import CollectorRegistry, generate_latest, parser
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser

from kymograph.telemetry import cells, exposition

COUNTER = cells.Description("requests_total", 'said "how many"\\\nin two lines', "{request}", ("kind", "namespace"))
HISTOGRAM = cells.Description("duration_seconds", "how long", "", ("kind",))
BOUNDS = (0.005, 1.0, 30.0)

label = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def parsed(text, *, openmetrics):
    parse = openmetrics_parser if openmetrics else parser
    families = parse.text_string_to_metric_families(text)
    return {
        family.name: (
            family.type,
            family.documentation,
            {(sample.name, frozenset(sample.labels.items())): sample.value for sample in family.samples},
        )
        for family in families
    }


@pytest.mark.parametrize("openmetrics", [False, True])
def test_both_writers_agree(openmetrics):
    """The same observations through the SDK's instruments, its reader and the client library's encoder."""
    registry = CollectorRegistry()
    provider = MeterProvider(
        [PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry)],
        views=[
            View(instrument_name=HISTOGRAM.name, aggregation=ExplicitBucketHistogramAggregation(BOUNDS)),
        ],
        shutdown_on_exit=False,
    )
    meter = provider.get_meter("theirs")
    theirs = meter.create_counter(COUNTER.name, description=COUNTER.description)
    their_histogram = meter.create_histogram(HISTOGRAM.name, description=HISTOGRAM.description)
    ours, our_histogram = cells.Counter(COUNTER, 0), cells.Histogram(HISTOGRAM, 0, BOUNDS)
    for values in (("Pod", "default"), ("Deploy\\ment", 'a"b\nc'), ("", "")):
        theirs.add(3, dict(zip(COUNTER.labels, values, strict=True)))
        ours.bind(values).add(3)
        for seconds in (0.001, 0.005, 2.5, 100.0):
            their_histogram.record(seconds, {"kind": values[0]})
            our_histogram.bind(values[:1]).record(seconds)

    written = exposition.write([ours.collect(1), our_histogram.collect(1)], openmetrics=openmetrics)
    if openmetrics:
        written += "# EOF\n"
        reference = openmetrics_exposition.generate_latest(registry)
    else:
        reference = generate_latest(registry)
    provider.shutdown()
    assert parsed(written, openmetrics=openmetrics) == parsed(reference.decode(), openmetrics=openmetrics)


@hypothesis.settings(deadline=None)
@given(label, label, st.booleans())
def test_any_label_value_is_read_back(kind, namespace, openmetrics):
    counter = cells.Counter(COUNTER, 0)
    counter.bind((kind, namespace)).add()
    written = exposition.write([counter.collect(1)], openmetrics=openmetrics) + ("# EOF\n" if openmetrics else "")
    _, documentation, samples = parsed(written, openmetrics=openmetrics)["requests"]
    assert samples == {("requests_total", frozenset({("kind", kind), ("namespace", namespace)})): 1}
    assert documentation == COUNTER.description


def test_other_kinds_of_data_are_left_out():
    gauge = sdk.Metric("depth", "", "", sdk.Gauge([sdk.NumberDataPoint({}, 0, 0, 1)]))
    assert exposition.write([gauge], openmetrics=False) == ""


def test_a_series_without_labels_has_no_braces():
    counter = cells.Counter(cells.Description("restarts_total", "", "", ()), 0)
    counter.bind(()).add(2)
    assert exposition.write([counter.collect(1)], openmetrics=False).endswith("\nrestarts_total 2\n")
