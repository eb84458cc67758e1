"""Our writer of Prometheus' formats says what the client library's writer says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from prometheus_client import CollectorRegistry, generate_latest, parser
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics import parser as openmetrics_parser

from kymograph.telemetry import cells, exposition, families, metricsettings, views

COUNTER = cells.Description("requests_total", 'said "how many"\\\nin two lines', "{request}", ("kind", "namespace"))
HISTOGRAM = cells.Description("duration_seconds", "how long", "", ("kind",))
BOUNDS = (0.005, 1.0, 30.0)

label = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def write(metrics, *, openmetrics):
    """All pieces of what instruments say now."""
    return "".join(exposition.write((each.stream(lambda: 1) for each in metrics), openmetrics=openmetrics))


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

    written = write([ours, our_histogram], openmetrics=openmetrics)
    if openmetrics:
        written += "# EOF\n"
        reference = openmetrics_exposition.generate_latest(registry)
    else:
        reference = generate_latest(registry)
    provider.shutdown()
    assert parsed(written, openmetrics=openmetrics) == parsed(reference.decode(), openmetrics=openmetrics)


@given(label, label, st.booleans())
def test_any_label_value_is_read_back(kind, namespace, openmetrics):
    counter = cells.Counter(COUNTER, 0)
    counter.bind((kind, namespace)).add()
    written = write([counter], openmetrics=openmetrics) + ("# EOF\n" if openmetrics else "")
    _, documentation, samples = parsed(written, openmetrics=openmetrics)["requests"]
    assert samples == {("requests_total", frozenset({("kind", kind), ("namespace", namespace)})): 1}
    assert documentation == COUNTER.description


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_metric_without_series_is_not_named(openmetrics):
    assert write([cells.Counter(COUNTER, 0), cells.Histogram(HISTOGRAM, 0, BOUNDS)], openmetrics=openmetrics) == ""


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_gauge_keeps_its_name(openmetrics):
    """Kyverno has one whose name ends as a counter's does."""
    gauge = families.Info(cells.Description("rule_info_total", "rules", "", ("rule",)))
    gauge.observe(lambda: [("a",)])
    assert write([gauge], openmetrics=openmetrics).splitlines() == [
        "# HELP rule_info_total rules",
        "# TYPE rule_info_total gauge",
        'rule_info_total{rule="a"} 1',
    ]


def test_exemplars_are_in_openmetrics_at_their_own_bucket():
    counter, histogram = cells.Counter(COUNTER, 0), cells.Histogram(HISTOGRAM, 0, BOUNDS)
    counted, observed = counter.bind(("Pod", "default")), histogram.bind(("Pod",))
    counted.add()
    counted.exemplify(cells.Mark(1, 1_500_000_000, 0xABC, 0xDEF))
    for seconds in (0.001, 1.0, 100.0):
        observed.record(seconds)
        observed.exemplify(cells.Mark(seconds, 2_000_000_000, 0xABC, 0xDEF))
    written = write([counter, histogram], openmetrics=True)
    (requests, duration) = openmetrics_parser.text_string_to_metric_families(written + "# EOF\n")
    ids = {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}"}
    exemplar = requests.samples[0].exemplar
    assert (exemplar.labels, exemplar.value, float(exemplar.timestamp)) == (ids, 1, 1.5)
    assert {sample.labels["le"]: sample.exemplar.value for sample in duration.samples if sample.exemplar} == {
        "0.005": 0.001,
        "1.0": 1.0,
        "+Inf": 100.0,
    }
    assert "trace_id" not in write([counter, histogram], openmetrics=False)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_overflow_series_says_so_in_a_valid_label(openmetrics):
    counter = cells.Counter(COUNTER, 0)
    counter.show(views.resolve(metricsettings.MetricSettings(cardinality_limit=1), [counter.subject])[COUNTER.name], 0)
    counter.bind(("Pod", "default")).add(3)
    written = write([counter], openmetrics=openmetrics)
    assert written.splitlines()[-1] == 'requests_total{otel_metric_overflow="true"} 3'


def test_a_series_without_labels_has_no_braces():
    counter = cells.Counter(cells.Description("restarts_total", "", "", ()), 0)
    counter.bind(()).add(2)
    assert write([counter], openmetrics=False).endswith("\nrestarts_total 2\n")
