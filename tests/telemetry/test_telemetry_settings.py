"""A TracingConfiguration's spec becomes settings, or an error that names the field."""

import pytest

from kymograph.telemetry import errors, keeping, metricsettings, settings


def test_an_empty_spec_exports_nothing_and_serves_metrics():
    assert settings.from_spec({}) == settings.TelemetrySettings(None, metricsettings.MetricSettings(True, 8000), {})


def test_empty_traces_mean_the_local_collector_in_plaintext():
    traces = settings.from_spec({"traces": {}}).traces
    assert (traces.endpoint, traces.plaintext, traces.sampling_rate_per_million) == ("localhost:4317", True, 0)


def test_every_field_is_read():
    read = settings.from_spec(
        {
            "traces": {
                "endpoint": "collector.observability:4317",
                "insecure": True,
                "samplingRatePerMillion": 100,
                "parent": "link",
                "parentTracesPerSecond": 7,
                "keep": {"denied": True, "slowerThan": "1.5s", "namespaces": ["payments"]},
                "controllers": {"background": {"enabled": False}, "reports": {"samplingRatePerMillion": 5}},
                "attributes": {"user": True},
            },
            "resourceAttributes": {"k8s.cluster.name": "prod-1"},
            "metrics": {"prometheus": {"enabled": False, "port": 9100}},
        }
    )
    assert read == settings.TelemetrySettings(
        settings.TraceSettings(
            "collector.observability:4317",
            insecure=True,
            gzip=True,
            sampling_rate_per_million=100,
            parent=settings.ParentPolicy.LINK,
            parent_traces_per_second=7,
            keep=keeping.Keep(denied=True, slower_than_ns=1_500_000_000, namespaces=frozenset({"payments"})),
            controllers={
                settings.Controller.BACKGROUND: settings.ControllerTraces(enabled=False),
                settings.Controller.REPORTS: settings.ControllerTraces(sampling_rate_per_million=5),
            },
            user=True,
        ),
        metricsettings.MetricSettings(False, 9100),
        {"k8s.cluster.name": "prod-1"},
    )


@pytest.mark.parametrize(
    ("endpoint", "plaintext"),
    [
        ("localhost:4317", True),
        ("127.0.0.1:4317", True),
        ("127.1.2.3:4317", True),
        ("[::1]:4317", True),
        ("collector.observability:4317", False),
        ("localhost.example.com:4317", False),
        ("10.0.0.1:4317", False),
        ("[2001:db8::1]:4317", False),
    ],
)
def test_plaintext_is_implied_for_loopback_only(endpoint, plaintext):
    assert settings.from_spec({"traces": {"endpoint": endpoint}}).traces.plaintext is plaintext


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"traces": {"endpoint": "collector"}}, "traces.endpoint"),
        ({"traces": {"endpoint": "http://collector:4317"}}, "traces.endpoint"),
        ({"traces": {"endpoint": "collector:0"}}, "traces.endpoint"),
        ({"traces": {"endpoint": "collector:65536"}}, "traces.endpoint"),
        ({"traces": {"endpoint": "::1:4317"}}, "traces.endpoint"),
        ({"traces": {"endpoint": ":4317"}}, "traces.endpoint"),
        ({"traces": {"endpoint": None}}, "traces.endpoint"),
        ({"traces": {"samplingRatePerMillion": -1}}, "traces.samplingRatePerMillion"),
        ({"traces": {"samplingRatePerMillion": 1_000_001}}, "traces.samplingRatePerMillion"),
        ({"traces": {"parent": "obey"}}, "traces.parent"),
        ({"traces": {"parentTracesPerSecond": -1}}, "traces.parentTracesPerSecond"),
        ({"traces": {"keep": {"slowerThan": "soon"}}}, "traces.keep.slowerThan"),
        (
            {"traces": {"controllers": {"cleanup": {"samplingRatePerMillion": -1}}}},
            "traces.controllers.cleanup.samplingRatePerMillion",
        ),
        ({"metrics": {"prometheus": {"port": 70_000}}}, "metrics.prometheus.port"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_field(spec, path):
    with pytest.raises(errors.SettingsInvalid) as refused:
        settings.from_spec(spec)
    assert refused.value.path == path
    assert str(refused.value).startswith(f"{path}: ")
