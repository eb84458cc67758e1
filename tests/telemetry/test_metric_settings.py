"""The `metrics` of a TracingConfiguration become settings, or an error that names the field."""

import pytest

from kymograph.telemetry import destination, errors, metricsettings


def test_nothing_said_is_a_scrape_and_no_push():
    read = metricsettings.from_spec({})
    assert read == metricsettings.MetricSettings()
    assert (read.otlp, read.prefix, read.cardinality_limit) == (None, "", 2_000)


def test_an_empty_push_is_to_the_local_collector_every_minute():
    read = metricsettings.from_spec({"otlp": {}}).otlp
    assert (read.endpoint, read.plaintext, read.path) == ("localhost:4317", True, "/v1/metrics")
    assert (read.interval, read.temporality) == (60, metricsettings.Temporality.CUMULATIVE)


def test_every_field_is_read():
    read = metricsettings.from_spec(
        {
            "prometheus": {"enabled": False, "port": 9100},
            "otlp": {
                "endpoint": "collector.observability:4318",
                "protocol": "http/protobuf",
                "insecure": True,
                "headers": [{"name": "x-scope", "value": "a"}],
                "interval": "1m30s",
                "temporality": "delta",
            },
            "prefix": "kyverno_",
            "byNamespace": True,
            "unified": True,
            "namespaces": {"include": ["team-*"], "exclude": ["team-x"]},
            "exposure": {
                "policy_results": {"dropLabels": ["resource_namespace"]},
                "admission_requests": {"enabled": False},
                "admission_review_duration_seconds": {"buckets": [0.1, 1]},
            },
            "cardinalityLimit": 100,
        }
    )
    assert read == metricsettings.MetricSettings(
        prometheus_enabled=False,
        prometheus_port=9100,
        otlp=metricsettings.PushSettings(
            endpoint="collector.observability:4318",
            gzip=True,
            protocol=destination.Protocol.HTTP,
            insecure=True,
            headers=(destination.Header("x-scope", "a"),),
            interval=90,
            temporality=metricsettings.Temporality.DELTA,
        ),
        prefix="kyverno_",
        by_namespace=True,
        namespaces=metricsettings.NamespaceFilter(("team-*",), ("team-x",)),
        exposure={
            "policy_results": metricsettings.Exposure(drop_labels=frozenset({"resource_namespace"})),
            "admission_requests": metricsettings.Exposure(enabled=False),
            "admission_review_duration_seconds": metricsettings.Exposure(buckets=(0.1, 1.0)),
        },
        cardinality_limit=100,
    )


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"prometheus": {"port": 70_000}}, "metrics.prometheus.port"),
        ({"prefix": "gatekeeper_"}, "metrics.prefix"),
        ({"cardinalityLimit": 9}, "metrics.cardinalityLimit"),
        ({"cardinalityLimit": 100_001}, "metrics.cardinalityLimit"),
        ({"otlp": {"endpoint": "collector"}}, "metrics.otlp.endpoint"),
        ({"otlp": {"interval": "0.5s"}}, "metrics.otlp.interval"),
        ({"otlp": {"interval": "2h"}}, "metrics.otlp.interval"),
        ({"otlp": {"interval": "often"}}, "metrics.otlp.interval"),
        ({"otlp": {"temporality": "both"}}, "metrics.otlp.temporality"),
        ({"exposure": {"a": {"buckets": []}}}, "metrics.exposure[a].buckets"),
        ({"exposure": {"a": {"buckets": [1, 1]}}}, "metrics.exposure[a].buckets"),
        ({"exposure": {"a": {"buckets": [2, 1]}}}, "metrics.exposure[a].buckets"),
        ({"exposure": {"a": {"buckets": ["1"]}}}, "metrics.exposure[a].buckets"),
        ({"exposure": {"a": {"buckets": [True]}}}, "metrics.exposure[a].buckets"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_field(spec, path):
    with pytest.raises(errors.SettingsInvalid) as refused:
        metricsettings.from_spec(spec)
    assert refused.value.path == path


def test_opentelemetrys_variables_are_the_defaults_of_a_push():
    environ = {
        "OTEL_METRIC_EXPORT_INTERVAL": "5000",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "Delta",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://there:4317",
    }
    read = metricsettings.from_spec({"otlp": {}}, environ).otlp
    assert (read.endpoint, read.interval, read.temporality) == ("there:4317", 5, metricsettings.Temporality.DELTA)
    assert metricsettings.from_spec({"otlp": {"interval": "7s"}}, environ).otlp.interval == 7


@pytest.mark.parametrize("value", ["", "0", "999999999"])
def test_a_variable_that_is_out_of_bounds_is_an_interval_at_them(value):
    interval = metricsettings.from_spec({"otlp": {}}, {"OTEL_METRIC_EXPORT_INTERVAL": value}).otlp.interval
    assert 1 <= interval <= 3_600


@pytest.mark.parametrize(
    ("include", "exclude", "admitted"),
    [
        ((), (), {"", "a", "team-a", "team-x"}),
        (("team-*",), (), {"", "team-a", "team-x"}),
        ((), ("team-*",), {"", "a"}),
        (("team-*",), ("*-x",), {"", "team-a"}),
        (("team-?",), ("team-a",), {"", "team-x"}),
        (("a",), ("a",), {""}),
    ],
)
def test_what_is_excluded_is_whatever_includes_it_and_cluster_wide_resources_pass(include, exclude, admitted):
    chosen = metricsettings.NamespaceFilter(include, exclude)
    assert {each for each in ("", "a", "team-a", "team-x") if chosen.admits(each)} == admitted
