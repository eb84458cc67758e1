"""`kymograph migrate telemetry`: every key of Kyverno's becomes a field, or is listed as left out."""

import argparse
import json

import pytest
import yaml

from kymograph.cli import run as run_command
from kymograph.cli.telemetry import kyvernoarguments
from kymograph.model import tracingconfiguration
from kymograph.telemetry import settings


@pytest.fixture
def migrate(run, tmp_path):
    """Migrate values, a ConfigMap's data, or both; gives the spec and what was said."""

    def go(values=None, data=None, status=0):
        flags = []
        if values is not None:
            (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
            flags += ["--values", tmp_path / "values.yaml"]
        if data is not None:
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kyverno-metrics"}, "data": data}
            (tmp_path / "map.yaml").write_text(yaml.safe_dump(document))
            flags += ["--configmap", tmp_path / "map.yaml"]
        ran = run("migrate", "telemetry", *flags)
        assert status in (None, ran.status), ran.err
        if status == 2:
            return None, ran.err
        document = yaml.safe_load(ran.out)
        assert {**document, "spec": {}} == {**tracingconfiguration.default(), "spec": {}}
        settings.from_spec(document["spec"])
        return document["spec"], ran.err

    return go


def of(admission=None, **others):
    return {"admissionController": admission or {}, **{f"{key}Controller": value for key, value in others.items()}}


def test_nothing_configured_is_the_default_under_kyvernos_names(migrate) -> None:
    """Dashboards and alerts go on."""
    spec, said = migrate({})
    assert spec == {"metrics": {"prometheus": {"enabled": True, "port": 8000}, "prefix": "kyverno_"}}
    assert said == ""


@pytest.mark.parametrize(
    ("tracing", "expected"),
    [
        ({"enabled": True}, {"endpoint": "localhost:4317"}),
        ({"enabled": True, "address": "c", "port": 55680}, {"endpoint": "c:55680", "insecure": True}),
        ({"enabled": True, "address": "c", "port": ""}, {"endpoint": "c:4317", "insecure": True}),
        ({"enabled": True, "address": "fd00::1"}, {"endpoint": "[fd00::1]:4317", "insecure": True}),
        (
            {"enabled": True, "address": "c", "creds": "otel-ca"},
            {"endpoint": "c:4317", "tls": {"caSecretRef": {"name": "otel-ca", "key": "ca.pem"}}},
        ),
    ],
)
def test_tracing_becomes_traces_that_sample_everything(migrate, tracing, expected) -> None:
    """As Kyverno does, which has no sampler to configure."""
    spec, said = migrate(of({"tracing": tracing}))
    assert spec["traces"] == {**expected, "samplingRatePerMillion": 1_000_000}
    assert ("to do: Secret otel-ca: copy it" in said) is ("creds" in tracing)


def test_controllers_that_do_not_trace_are_switched_off(migrate) -> None:
    """Where others do."""
    spec, _ = migrate(of({"tracing": {"enabled": True}}, reports={"tracing": {"enabled": False}}))
    assert spec["traces"]["controllers"] == {"reports": {"enabled": False}}
    assert "traces" not in migrate(of({"tracing": {"enabled": False, "address": "c"}}))[0]


def test_a_receiver_of_another_controller_is_left_out(migrate) -> None:
    """One resource speaks for all: the first one's applies."""
    one, two = ({"enabled": True, "address": name} for name in "ab")
    spec, said = migrate(of({"tracing": one}, cleanup={"tracing": two}), status=1)
    assert spec["traces"]["endpoint"] == "a:4317"
    assert "left out: cleanupController.tracing: it differs from admissionController's" in said


@pytest.mark.parametrize(
    ("metering", "expected"),
    [
        ({"disabled": True}, {"prometheus": {"enabled": False}}),
        ({"port": 9100}, {"prometheus": {"enabled": True, "port": 9100}}),
        (
            {"config": "grpc", "collector": "c", "port": 4317},
            {"prometheus": {"enabled": False}, "otlp": {"endpoint": "c:4317", "insecure": True}},
        ),
        (
            {"config": "grpc", "creds": "ca"},
            {
                "prometheus": {"enabled": False},
                "otlp": {
                    "endpoint": "opentelemetrycollector.kyverno.svc.cluster.local:8000",
                    "tls": {"caSecretRef": {"name": "ca", "key": "ca.pem"}},
                },
            },
        ),
    ],
)
def test_metering_becomes_a_scrape_or_a_push(migrate, metering, expected) -> None:
    """The port is the collector's where there is one."""
    spec, _ = migrate(of({"metering": metering}))
    assert spec["metrics"] == {**expected, "prefix": "kyverno_"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"features": {"dumpPayload": {"enabled": True}}}, "features.dumpPayload"),
        ({"features": {"controllerRuntimeMetrics": {"bindAddress": ":9090"}}}, "features.controllerRuntimeMetrics"),
        (of({"metricsService": {"type": "NodePort"}}), "admissionController.metricsService"),
        ({"metricsConfig": {"metricsRefreshInterval": "24h"}}, "metricsRefreshInterval: counters are never reset"),
        (
            {"metricsConfig": {"metricsExposure": {"kyverno_of_another_version_total": {"enabled": False}}}},
            "metricsExposure.kyverno_of_another_version_total: there is no such metric here",
        ),
    ],
)
def test_what_has_no_counterpart_is_listed(migrate, values, said) -> None:
    """With the reason, and exit status 1."""
    assert f"left out: {said}" in migrate(values, status=1)[1]


def test_metrics_that_were_served_over_tls_still_are(migrate) -> None:
    """By a certificate that somebody has to make: Kyverno's is its own."""
    spec, said = migrate(of({"metering": {"secure": True, "tlsKeyAlgorithm": "ECDSA"}}))
    assert spec["metrics"]["prometheus"]["tls"] == {"certificateSecretRef": {"name": "kymograph-metrics-tls"}}
    assert "to do: Secret kymograph-metrics-tls: make it" in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (of(background={"serviceMonitor": {"enabled": True}}), "backgroundController.serviceMonitor: kubectl apply -k"),
        ({"grafana": {"enabled": True}}, "grafana: kubectl apply -k manifests/monitoring"),
        ({"prometheusRule": {"enabled": True}}, "prometheusRule: kubectl apply -k manifests/monitoring"),
        (
            of({"container": {"extraArgs": {"exemplarFilter": "trace-based", "genWorkers": 10}}}),
            "admissionController: flag --exemplarFilter: give it to kymograph run",
        ),
    ],
)
def test_what_is_beside_the_resource_is_to_be_done(migrate, values, said) -> None:
    """The manifests have it, or the command line."""
    assert f"to do: {said}" in migrate(values)[1]


def test_flags_that_are_to_be_given_are_taken() -> None:
    """Each of those that the values may have in their extra arguments."""
    parser = argparse.ArgumentParser()
    run_command.configure(parser)
    assert all(f"--{flag}" in parser._option_string_actions for flag in kyvernoarguments.BESIDE)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ({"enableTracing": True}, {"tracing": {"enabled": True}}),
        ({"enableTracing": "t", "tracingAddress": "c"}, {"tracing": {"enabled": True, "address": "c"}}),
        (
            {"enableTracing": "true", "tracingAddress": "c", "tracingPort": 9999, "tracingCreds": "ca"},
            {"tracing": {"enabled": True, "address": "c", "port": "9999", "creds": "ca"}},
        ),
        ({"disableMetrics": True}, {"metering": {"disabled": True}}),
        ({"metricsPort": 9100}, {"metering": {"port": 9100}}),
        (
            {"otelConfig": "grpc", "otelCollector": "c", "metricsPort": "4317", "transportCreds": "ca"},
            {"metering": {"config": "grpc", "collector": "c", "port": 4317, "creds": "ca"}},
        ),
        ({"loggingFormat": "json", "v": 5}, {"featuresOverride": {"logging": {"format": "json", "verbosity": 5}}}),
    ],
)
def test_extra_arguments_are_the_values_that_they_stand_above(migrate, arguments, values) -> None:
    """Kyverno takes the last flag, and the chart renders these last; the resource stands above `kymograph run`'s."""
    other = {"tracing": {"address": "other", "port": 1, "creds": "other-ca"}, "metering": {"port": 2}}
    expected = {**other, **values}
    for part in ("tracing", "metering"):
        expected[part] = {**other[part], **values.get(part, {})}
    for holder in ({"extraArgs": arguments}, {"container": {"extraArgs": arguments}}):
        assert migrate(of({**other, **holder}), status=None) == migrate(of(expected), status=None)


def test_a_certificate_that_a_flag_names_is_the_one_that_metrics_are_served_with(migrate) -> None:
    """Whatever Kyverno would have made; who scrapes has to know."""
    spec, said = migrate(of({"container": {"extraArgs": {"metricsTLSSecretName": "own", "metricsPort": 9100}}}))
    assert spec["metrics"]["prometheus"]["tls"] == {"certificateSecretRef": {"name": "own"}}
    assert "to do: Secret own: make it" in said
    assert "to do: scrapes over TLS: kubectl apply -k manifests/monitoring-secured" in said
    assert "to do: port 9100: write it as the containerPort" in said


def test_variables_of_opentelemetry_are_to_be_set_again(migrate) -> None:
    """They count for our container likewise; others are nobody's business here."""
    variables = [{"name": "OTEL_SERVICE_NAME", "value": "x"}, {"name": "TZ", "value": "UTC"}]
    _, said = migrate(of({"container": {"extraEnvVars": variables}}))
    assert [line.partition(": set ")[0] for line in said.splitlines()] == [
        "to do: admissionController: variable OTEL_SERVICE_NAME"
    ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "to do: admissionController: variable OTEL_BSP_MAX_QUEUE_SIZE: set it on"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "to do: admissionController: variable OTEL_EXPORTER_OTLP_COMPRESSION: set"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "to do: admissionController: variable OTEL_EXPORTER_OTLP_HEADERS: make a Secret",
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", ""),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
        ("OTEL_SDK_DISABLED", ""),
        ("OTEL_METRIC_EXPORT_INTERVAL", ""),
    ],
)
def test_variables_are_set_again_where_kyverno_follows_them_and_so_do_we(migrate, name, said) -> None:
    """What Kyverno overrides or does not know would mean something here; headers go to no endpoint of a resource."""
    variables = {"extraEnvVars": [{"name": name, "value": "1"}], "tracing": {"enabled": True}}
    heard = migrate(of(variables))[1]
    assert heard.startswith(said) if said else heard == ""


def test_limits_of_gos_spans_are_left_out(migrate) -> None:
    """Ours are fixed."""
    variables = {"extraEnvVars": [{"name": "OTEL_SPAN_EVENT_COUNT_LIMIT", "value": "1"}]}
    assert "left out: admissionController: variable OTEL_SPAN_EVENT_COUNT_LIMIT" in migrate(of(variables), status=1)[1]


SAMPLED = [
    {"name": "OTEL_TRACES_SAMPLER", "value": "traceidratio"},
    {"name": "OTEL_TRACES_SAMPLER_ARG", "value": "0.1"},
]


def test_kyvernos_sampler_is_the_rate(migrate) -> None:
    """It would not count where the resource says something else."""
    traced = {"tracing": {"enabled": True}}
    spec, said = migrate(of({**traced, "container": {"extraEnvVars": SAMPLED}}))
    assert (spec["traces"]["samplingRatePerMillion"], said) == (100_000, "")
    spec, said = migrate(of({**traced, "extraEnvVars": SAMPLED}, reports=traced), status=1)
    assert spec["traces"]["samplingRatePerMillion"] == 100_000
    assert "left out: reportsController.extraEnvVars: OTEL_TRACES_SAMPLER: it differs" in said
    elsewhere = {"name": "OTEL_TRACES_SAMPLER", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}
    spec, said = migrate(of({**traced, "extraEnvVars": [elsewhere]}))
    assert spec["traces"]["samplingRatePerMillion"] == 1_000_000
    assert "write what it says into traces.samplingRatePerMillion" in said


def test_what_a_controller_overrides_about_logs_counts_where_it_is_the_admission_controllers(migrate) -> None:
    """One resource speaks for all."""
    logging = {"logging": {"verbosity": 6}}
    spec, said = migrate(
        {"features": {"logging": {"format": "json", "verbosity": 2}}, **of({"featuresOverride": logging})}, status=1
    )
    assert spec["logs"] == {"format": "json", "level": "debug"}
    assert "left out: backgroundController.featuresOverride.logging: it differs" in said


def test_what_is_written_has_no_anchors(migrate, run, tmp_path) -> None:
    """It is for people to read and edit."""
    (tmp_path / "common.yaml").write_text(yaml.safe_dump({"metricsConfig": {"bucketBoundaries": [1, 2]}}))
    assert "&" not in run("migrate", "telemetry", "--values", tmp_path / "common.yaml").out


EXPOSURE = {
    "kyverno_policy_results_total": {"disabledLabelDimensions": ["resource_namespace"]},
    "kyverno_admission_requests": {"enabled": False},
    "kyverno_policy_execution_duration_seconds": {"bucketBoundaries": [0.1, 1]},
    "kyverno_policy_rule_info_total": {"disabledLabelDimensions": ["resource_namespace"]},
}
EXPECTED = {
    "policy_results_total": {"dropLabels": ["resource_namespace"]},
    "admission_requests_total": {"enabled": False},
    "policy_execution_duration_seconds": {"buckets": [0.1, 1.0]},
}


@pytest.mark.parametrize("source", ["values", "map"])
def test_metrics_are_read_from_values_and_from_the_config_map(migrate, source) -> None:
    """Either spelling of a metric is meant; a label that it does not have is no loss."""
    config = {"namespaces": {"include": [], "exclude": ["kube-system"]}, "metricsExposure": EXPOSURE}
    data = {key: json.dumps(value) for key, value in config.items()}
    spec, said = migrate({"metricsConfig": config}) if source == "values" else migrate(data=data)
    assert spec["metrics"]["namespaces"] == {"exclude": ["kube-system"]}
    assert spec["metrics"]["exposure"] == EXPECTED
    assert said == ""


def test_the_config_map_stands_for_the_values_part(migrate) -> None:
    """It is what is in force."""
    values = {"metricsConfig": {"namespaces": {"include": ["a"]}}, "features": {"logging": {"verbosity": 4}}}
    spec, _ = migrate(values, {"namespaces": '{"include": ["b"]}'})
    assert spec["metrics"]["namespaces"] == {"include": ["b"]}
    assert spec["logs"] == {"level": "debug"}


def test_common_buckets_are_those_of_every_histogram_without_its_own(migrate) -> None:
    """Kyverno's own need no word."""
    usual = "0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 25, 30"
    assert "exposure" not in migrate(data={"bucketBoundaries": usual})[0]["metrics"]
    own = {"kyverno_policy_execution_duration_seconds": {"bucketBoundaries": [3]}}
    spec, _ = migrate(data={"bucketBoundaries": "1, 2", "metricsExposure": json.dumps(own)})
    shown = spec["metrics"]["exposure"]
    assert shown.pop("policy_execution_duration_seconds") == {"buckets": [3.0]}
    assert shown.pop("admission_review_duration_seconds") == {"buckets": [1.0, 2.0]}
    assert all(each == {"buckets": [1.0, 2.0]} for each in shown.values())


@pytest.mark.parametrize(
    ("values", "data", "reason"),
    [
        (None, None, "give --values, --configmap or both"),
        (None, {"namespaces": "{"}, "data.namespaces: is no JSON"),
        (None, {"bucketBoundaries": "1, much"}, "map.yaml:3: data.bucketBoundaries: is no list of numbers"),
        (None, {"metricsExposure": "[]"}, "data.metricsExposure: is no map"),
        ({"metricsConfig": {"namespaces": {"include": "a"}}}, None, "metricsConfig.namespaces.include: is no list"),
        (of({"metering": {"config": "statsd"}}), None, "'statsd' is neither prometheus nor grpc"),
        (of({"tracing": {"enabled": True, "address": "http://c"}}), None, "traces.endpoint"),
        (of({"tracing": {"enabled": True, "port": "otlp"}}), None, "'otlp' is no port"),
        (of({"extraArgs": {"enableTracing": "perhaps"}}), None, "extraArgs.enableTracing: perhaps: must be true or"),
        (of({"container": {"extraArgs": []}}), None, "admissionController.extraArgs: is no map"),
        (
            {"metricsConfig": {"namespaces": {"include": ["a b"]}}},
            None,
            "it comes to metrics.namespaces.include[0], which an API server refuses: 'a b' must match",
        ),
        (of({"tracing": {"enabled": True, "creds": "CA_1"}}), None, "it comes to traces.tls.caSecretRef.name, which"),
        ([], None, "must hold one document, a map"),
    ],
)
def test_what_cannot_be_used_is_refused(migrate, values, data, reason) -> None:
    """With exit status 2 and the key."""
    assert reason in migrate(values, data, status=2)[1]
