"""Kyverno's telemetry flags are the defaults of fields: under the resource, above OpenTelemetry's variables."""

import argparse
import pathlib
import re

import pytest

from kymograph.cli import telemetryflags
from kymograph.telemetry import destination, settings

OPERATIONS = (pathlib.Path(__file__).parents[2] / "docs" / "operations.md").read_text()


@pytest.fixture
def parser():
    made = argparse.ArgumentParser(exit_on_error=False)
    telemetryflags.declare(made)
    return made


@pytest.fixture
def effective(parser):
    """What is in force with these flags, variables and spec."""

    def read(*flags, environ=(), **spec):
        return settings.from_spec(spec, dict(environ), telemetryflags.read(parser.parse_args(flags)))

    return read


def test_without_flags_nothing_changes(effective) -> None:
    """The shipped defaults."""
    assert effective() == settings.TelemetrySettings()


CREDS = destination.TLS(ca=destination.SecretKey("ca", "ca.pem"))
TO = ("--enableTracing", "--tracingAddress=flag")
PUSH = ("--otelConfig=grpc", "--otelCollector=flag")


@pytest.mark.parametrize(
    ("flags", "read", "value"),
    [
        (["--enableTracing"], "traces.endpoint", "localhost:4317"),
        (["--enableTracing"], "traces.sampling_rate_per_million", 1_000_000),
        (["--enableTracing=true"], "traces.plaintext", True),
        (["--enableTracing=false"], "traces", None),
        (["--enableTracing", "--tracingAddress=c"], "traces.endpoint", "c:4317"),
        (["--enableTracing", "--tracingAddress=c"], "traces.plaintext", True),
        (["--enableTracing", "--tracingAddress=::1"], "traces.endpoint", "[::1]:4317"),
        (["--enableTracing", "--tracingAddress=[fd00::1]"], "traces.endpoint", "[fd00::1]:4317"),
        (["--tracingAddress=c"], "traces", None),
        (["--enableTracing", "--tracingPort=55680"], "traces.endpoint", "localhost:55680"),
        ([*TO, "--tracingPort=55680"], "traces.endpoint", "flag:55680"),
        ([*TO, "--tracingPort="], "traces.endpoint", "flag:4317"),
        ([*TO, "--tracingCreds=ca"], "traces.tls", CREDS),
        ([*TO, "--tracingCreds=ca"], "traces.plaintext", False),
        ([*TO, "--tracingCreds="], "traces.tls", None),
        (["--disableMetrics"], "metrics.prometheus_enabled", False),
        (["--disableMetrics", "--otelConfig=grpc"], "metrics.otlp", None),
        (["--disableMetrics=false"], "metrics.prometheus_enabled", True),
        (["--enableTracing", "--telemetry-output=-"], "traces.output", "-"),
        ([*TO, "--tracingCreds=ca", "--telemetry-output=-"], "traces.tls", None),
        (["--metricsPort=9100"], "metrics.prometheus_port", 9100),
        (["--otelConfig=prometheus"], "metrics.prometheus_enabled", True),
        (["--otelConfig=grpc"], "metrics.prometheus_enabled", False),
        (["--otelConfig=grpc"], "metrics.otlp.endpoint", f"{telemetryflags.COLLECTOR}:8000"),
        ([*PUSH], "metrics.otlp.endpoint", "flag:8000"),
        ([*PUSH], "metrics.otlp.plaintext", True),
        ([*PUSH, "--metricsPort=4317"], "metrics.otlp.endpoint", "flag:4317"),
        ([*PUSH, "--metricsPort=4317"], "metrics.prometheus_port", 8000),
        ([*PUSH, "--transportCreds=ca"], "metrics.otlp.tls", CREDS),
        (["--otelCollector=flag"], "metrics.otlp", None),
        (["--exemplarFilter=trace-based"], "metrics.exemplars", True),
        (["--exemplarFilter=always-on"], "metrics.exemplars", True),
        (["--exemplarFilter=always-off"], "metrics.exemplars", False),
        (["--metricsTLSSecretName=metrics-tls"], "metrics.prometheus_tls", "metrics-tls"),
        (["--metricsTLSSecretName="], "metrics.prometheus_tls", ""),
    ],
)
def test_a_flag_is_the_default_of_its_field(effective, flags, read, value) -> None:
    """As Kyverno means it."""
    found = effective(*flags)
    for name in read.split("."):
        found = getattr(found, name)
    assert found == value


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://variable:4317", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=b"}


@pytest.mark.parametrize(
    ("flags", "environ", "spec", "endpoint", "plaintext"),
    [
        ((), {}, {}, "localhost:4317", True),
        ((), ENDPOINT, {}, "variable:4317", False),
        (TO, ENDPOINT, {}, "flag:4317", True),
        (TO, ENDPOINT, {"endpoint": "field:4317"}, "field:4317", False),
        (TO, {}, {"endpoint": "field:4317", "insecure": True}, "field:4317", True),
        (TO, {}, {"tls": {}}, "flag:4317", False),
        ((*TO, "--tracingCreds=ca"), {}, {"insecure": True}, "flag:4317", True),
        ((*TO, "--tracingCreds=ca"), {}, {"endpoint": "localhost:4317"}, "localhost:4317", True),
    ],
)
def test_the_field_wins_over_the_flag_and_the_flag_over_the_variable(
    effective, flags, environ, spec, endpoint, plaintext
) -> None:
    """Endpoint and TLS go together: a flag's credentials are not for an endpoint that the resource names."""
    traces = effective(*flags, environ=environ, traces=spec).traces
    assert (traces.endpoint, traces.plaintext) == (endpoint, plaintext)


def test_headers_of_the_environment_go_where_the_flags_say_and_not_where_the_resource_does(effective) -> None:
    """Flags and variables have one author, the resource may have another."""
    assert [header.name for header in effective(*TO, environ=ENDPOINT).traces.headers] == ["authorization"]
    assert effective(*TO, environ=ENDPOINT, traces={"endpoint": "field:1"}).traces.headers == ()


@pytest.mark.parametrize("flags", [(), ("--enableTracing",)])
def test_an_http_exporter_of_a_flag_posts_to_the_usual_path(effective, flags) -> None:
    """Whatever the path of the variable's endpoint is."""
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://variable/base"}
    assert effective(*flags, environ=environ, traces={}).traces.path == "/base/v1/traces"
    assert effective(*TO, environ=environ).traces.path == "/v1/traces"


@pytest.mark.parametrize(
    ("flags", "environ", "spec", "rate"),
    [
        ((), {}, {}, 0),
        (("--enableTracing",), {}, {}, 1_000_000),
        (("--enableTracing",), {"OTEL_TRACES_SAMPLER": "always_off"}, {}, 0),
        (("--enableTracing",), {"OTEL_TRACES_SAMPLER": "always_off"}, {"samplingRatePerMillion": 7}, 7),
        ((), {"OTEL_TRACES_SAMPLER": "parentbased_always_on"}, {}, 1_000_000),
        ((), {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, {}, 250_000),
        ((), {"OTEL_TRACES_SAMPLER": "traceidratio"}, {}, 1_000_000),
        ((), {"OTEL_TRACES_SAMPLER": "always_on"}, {"samplingRatePerMillion": 0}, 0),
    ],
)
def test_the_rate_is_the_fields_then_the_samplers_then_the_flags(effective, flags, environ, spec, rate) -> None:
    """As in Kyverno, where tracing samples everything unless a variable says otherwise."""
    assert effective(*flags, environ=environ, traces=spec).traces.sampling_rate_per_million == rate


@pytest.mark.parametrize(
    ("given", "level"),
    [([], "warning"), (["--v=2"], "info"), (["--v=3"], "info"), (["--v=4"], "debug"), (["--v=9"], "debug")],
)
def test_verbosity_is_a_level(parser, given, level) -> None:
    """Kyverno tells at 4 what developers want to know."""
    assert telemetryflags.log_level(parser.parse_args(given), "warning") == level


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("--enableTracing=perhaps", "must be true or false"),
        ("--tracingAddress=http://c", "without scheme and port"),
        ("--tracingAddress=c:4317", "without scheme and port"),
        ("--tracingPort=0", "a port is a number from 1 to 65535"),
        ("--tracingCreds=Not/A/Name", "must be the name of a Secret"),
        ("--otelConfig=statsd", "invalid choice"),
        ("--metricsPort=http", "a port is a number"),
        ("--exemplarFilter=sometimes", "invalid choice"),
        ("--v=much", "must be a number"),
        ("--metricsTLSSecretName=Not/A/Name", "must be the name of a Secret"),
    ],
)
def test_a_mistake_is_refused(parser, flag, reason) -> None:
    """With what would be right."""
    with pytest.raises(argparse.ArgumentError, match=re.escape(reason)):
        parser.parse_args([flag])


def test_the_certificate_of_the_resource_wins_over_the_flags(effective) -> None:
    """As everywhere."""
    tls = {"prometheus": {"tls": {"certificateSecretRef": {"name": "field"}}}}
    assert effective("--metricsTLSSecretName=flag", metrics=tls).metrics.prometheus_tls == "field"


def test_every_flag_has_a_row_with_its_field(parser) -> None:
    """In the table of docs/operations.md."""
    for name in (name for action in parser._actions for name in action.option_strings):
        row = rf"^\| [^|]*`{name}`[^|]*\|[^|]*\| `"
        assert name in ("-h", "--help") or re.search(row, OPERATIONS, re.MULTILINE), name
