"""OpenTelemetry's standard variables: each is the default of a field, and the field wins.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import dataclasses
import os
import subprocess
import sys

import pytest
from opentelemetry.sdk import environment_variables

from kymograph.localcluster import pki
from kymograph.telemetry import defaults, destination, environment, errors, metricsettings, resource, settings

SIGNALS = ("TRACES", "METRICS", "LOGS")


def exporter(signal, spec, environ):
    """The settings of a signal's exporter."""
    whole = {"TRACES": {"traces": spec}, "METRICS": {"metrics": {"otlp": spec}}, "LOGS": {"logs": {"otlp": spec}}}
    read = settings.from_spec(whole[signal], environ)
    return {"TRACES": read.traces, "METRICS": read.metrics.otlp, "LOGS": read.logs.otlp}[signal]


EXPORTER_VARIABLES = [
    # variable, what it says, what is then set, the field that wins and what it sets
    ("ENDPOINT", "http://a:1", "endpoint", "a:1", {"endpoint": "b:2"}, "b:2"),
    ("PROTOCOL", "http/protobuf", "protocol", "http/protobuf", {"protocol": "grpc"}, "grpc"),
    ("TIMEOUT", "2500", "timeout", 2.5, {"timeout": "4s"}, 4.0),
    ("COMPRESSION", "gzip", "gzip", True, {"compression": "none"}, False),
    ("COMPRESSION", "none", "gzip", False, {"compression": "gzip"}, True),
]


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("form", ["OTEL_EXPORTER_OTLP_{}", "OTEL_EXPORTER_OTLP_{signal}_{}"])
@pytest.mark.parametrize(("what", "value", "attribute", "expected", "spec", "wins"), EXPORTER_VARIABLES)
def test_a_variable_of_exporters_is_the_default_of_a_field(signal, form, what, value, attribute, expected, spec, wins):
    """In its form for all signals and in that for one; the field wins over both."""
    environ = {form.format(what, signal=signal): value}
    assert getattr(exporter(signal, {}, environ), attribute) == expected
    assert getattr(exporter(signal, spec, environ), attribute) == wins


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(("what", "value", "attribute", "expected"), [each[:4] for each in EXPORTER_VARIABLES])
def test_the_form_for_one_signal_wins_and_says_nothing_of_others(signal, what, value, attribute, expected):
    """Over the one for all."""
    common = {"ENDPOINT": "http://c:3", "PROTOCOL": "grpc", "TIMEOUT": "1", "COMPRESSION": "none"}[what]
    environ = {f"OTEL_EXPORTER_OTLP_{what}": common, f"OTEL_EXPORTER_OTLP_{signal}_{what}": value}
    assert getattr(exporter(signal, {}, environ), attribute) == expected
    for other in set(SIGNALS) - {signal}:
        without = {f"OTEL_EXPORTER_OTLP_{what}": common}
        assert exporter(other, {}, environ) == exporter(other, {}, without)


@pytest.mark.parametrize("signal", SIGNALS)
def test_headers_go_to_the_endpoint_of_the_environment_and_to_no_other(signal):
    """Whoever may edit the resource does not get them."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", f"OTEL_EXPORTER_OTLP_{signal}_HEADERS": "authorization=x"}
    assert exporter(signal, {}, environ).headers == (destination.Header("authorization", "x"),)
    assert exporter(signal, {"endpoint": "b:2"}, environ).headers == ()


@pytest.mark.parametrize(
    ("endpoint", "insecure", "plaintext"),
    [
        ("collector:4317", "", False),
        ("collector:4317", "false", False),
        ("collector:4317", "TRUE", True),
        ("https://collector:4317", "true", False),
        ("http://collector:4317", "false", True),
    ],
)
def test_insecure_is_for_endpoints_without_a_scheme(endpoint, insecure, plaintext):
    """A scheme says it itself."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_INSECURE": insecure}
    read = exporter("TRACES", {}, environ)
    assert (read.endpoint, read.plaintext) == ("collector:4317", plaintext)


@pytest.fixture
def files(tmp_path):
    """Variables that name files, and what is in them."""
    authority = pki.Authority("authority")
    pair = authority.client("exporter")
    contents = {
        "CERTIFICATE": authority.pair.certificate,
        "CLIENT_CERTIFICATE": pair.certificate,
        "CLIENT_KEY": pair.key,
    }
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317"}
    for what, content in contents.items():
        path = tmp_path / what.lower()
        path.write_bytes(content)
        environ[f"OTEL_EXPORTER_OTLP_{what}"] = str(path)
    return environ, contents


def test_certificates_are_read_from_the_files_that_variables_name(files):
    """For the endpoint of the environment; one that the resource names has its TLS from the resource."""
    environ, contents = files
    to = destination.resolve(exporter("TRACES", {}, environ), {})
    assert (to.ca, to.certificate, to.key) == tuple(contents.values())
    elsewhere = destination.resolve(exporter("TRACES", {"endpoint": "b:2"}, environ), {})
    assert (elsewhere.ca, elsewhere.certificate, elsewhere.key) == (None, None, None)
    assert settings.from_spec({"traces": {}}, environ).files == {
        environ[f"OTEL_EXPORTER_OTLP_{what}"] for what in contents
    }


def test_a_file_that_cannot_be_read_is_named_with_its_variable(files):
    """So that whoever starts the process knows which."""
    environ, _ = files
    read = exporter("TRACES", {}, {**environ, "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem"})
    with pytest.raises(errors.SettingsInvalid) as missing:
        destination.resolve(read, {})
    assert missing.value.path == "OTEL_EXPORTER_OTLP_CERTIFICATE"
    assert "/nowhere/ca.pem" in str(missing.value)


def test_flags_that_name_an_endpoint_say_its_tls_too(files):
    """Endpoint and TLS belong together."""
    environ, _ = files
    flags = defaults.Defaults(traces=defaults.ExporterDefaults("flag:4317"))
    read = settings.from_spec({"traces": {}}, environ, flags).traces
    assert (read.endpoint, read.plaintext, read.files) == ("flag:4317", True, environment.NO_FILES)


@pytest.mark.parametrize("present", ["CLIENT_CERTIFICATE", "CLIENT_KEY"])
def test_a_client_certificate_and_its_key_are_there_together(present):
    """Else nothing could be shown."""
    with pytest.raises(errors.SettingsInvalid, match="must be set too"):
        exporter("LOGS", {}, {f"OTEL_EXPORTER_OTLP_{present}": "/some/file"})


def test_the_sdk_can_be_disabled_whatever_the_resource_says():
    """By whoever starts the process: nothing leaves it. Metrics can still be scraped."""
    spec = {"traces": {}, "metrics": {"otlp": {}}, "logs": {"otlp": {}, "level": "debug"}}
    read = settings.from_spec(spec, {"OTEL_SDK_DISABLED": "True"})
    assert read.disabled
    assert read.exporters == []
    assert (read.metrics.prometheus_enabled, read.logs.level) == (True, "debug")
    assert len(settings.from_spec(spec, {"OTEL_SDK_DISABLED": "false"}).exporters) == 3


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(("value", "output"), [("otlp", ""), ("console", "-"), ("none", None), ("none, otlp", "")])
def test_each_signal_has_an_exporter(signal, value, output):
    """Sent, written to standard output, or not at all; the other signals are as ever."""
    made = dict(zip(SIGNALS, exporters({f"OTEL_{signal}_EXPORTER": value}), strict=True))
    assert (made[signal] and made[signal].output) == output
    assert [made[other].output for other in SIGNALS if other != signal] == ["", ""]


def test_an_exporter_of_the_environment_is_not_for_an_endpoint_that_the_resource_names():
    """Variables are defaults."""
    environ = {f"OTEL_{signal}_EXPORTER": "none" for signal in SIGNALS}
    assert [each.endpoint for each in exporters(environ, endpoint="field:1")] == ["field:1"] * 3


@pytest.mark.parametrize(("value", "first"), [("none", []), ("console", ["-"])])
def test_nor_for_additional_destinations(value, first):
    """Which are named by the resource only; what they need is read."""
    header = {"name": "authorization", "valueFrom": {"secretKeyRef": {"name": "token", "key": "header"}}}
    spec = {"headers": [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "first", "key": "b"}}}]}
    spec["additional"] = [{"name": "vendor", "endpoint": "vendor:1", "headers": [header]}]
    read = settings.from_spec({"traces": spec}, {"OTEL_TRACES_EXPORTER": value})
    assert [each.endpoint for each in read.exporters] == [*first, "vendor:1"]
    assert read.secrets == {"token"}
    written = defaults.Defaults(output="-")
    (only,) = settings.from_spec({"traces": spec}, {"OTEL_TRACES_EXPORTER": value}, written).exporters
    assert only.endpoint == "-"


def test_metrics_that_are_scraped_are_not_pushed():
    """`/metrics` is there whatever the variable says."""
    (_, pushed, _), environ = exporters({"OTEL_METRICS_EXPORTER": "prometheus"}), {"OTEL_METRICS_EXPORTER": "none"}
    assert pushed is None
    assert exporters({"OTEL_METRICS_EXPORTER": "otlp,prometheus"})[1] is not None
    assert settings.from_spec({}, environ).metrics.prometheus_enabled


def exporters(environ, **fields):
    """Those of the three signals."""
    spec = {"traces": fields, "metrics": {"otlp": fields}, "logs": {"otlp": fields}}
    read = settings.from_spec(spec, environ)
    return read.traces, read.metrics.otlp, read.logs.otlp


@pytest.mark.parametrize(
    ("environ", "spec", "rate"),
    [
        ({"OTEL_TRACES_SAMPLER": "always_on"}, {}, 1_000_000),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, {}, 0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, {}, 250_000),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, {"samplingRatePerMillion": 7}, 7),
    ],
)
def test_the_sampler_is_the_default_of_the_rate(environ, spec, rate):
    """With its argument; the field wins."""
    assert settings.from_spec({"traces": spec}, environ).traces.sampling_rate_per_million == rate


@pytest.mark.parametrize(("processor", "attribute"), [("BSP", "span_queue"), ("BLRP", "log_queue")])
def test_queues_are_bounded_as_the_variables_say(processor, attribute):
    """How many wait, how many are sent at once, and how long one waits for others."""
    environ = {
        f"OTEL_{processor}_MAX_QUEUE_SIZE": "1000",
        f"OTEL_{processor}_MAX_EXPORT_BATCH_SIZE": "100",
        f"OTEL_{processor}_SCHEDULE_DELAY": "250",
    }
    read = settings.from_spec({}, environ)
    assert getattr(read, attribute) == environment.QueueLimits(1000, 100, 0.25)
    assert getattr(settings.from_spec({}), attribute) == environment.NO_LIMITS


@pytest.mark.parametrize(
    ("environ", "spec", "interval"),
    [
        ({"OTEL_METRIC_EXPORT_INTERVAL": "5000"}, {}, 5.0),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "5000"}, {"interval": "10s"}, 10.0),
    ],
)
def test_the_interval_of_pushes_has_a_variable(environ, spec, interval):
    """In milliseconds."""
    assert exporter("METRICS", spec, environ).interval == interval


def test_temporality_has_a_variable():
    """The field wins; with `lowmemory` what we count is told as with `delta`."""
    lowmemory = exporter("METRICS", {}, {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "lowmemory"})
    assert lowmemory.temporality is metricsettings.Temporality.DELTA
    environ = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}
    assert exporter("METRICS", {}, environ).temporality is metricsettings.Temporality.DELTA
    cumulative = exporter("METRICS", {"temporality": "cumulative"}, environ)
    assert cumulative.temporality is metricsettings.Temporality.CUMULATIVE


@pytest.mark.parametrize(
    ("environ", "configured", "expected"),
    [
        ({"OTEL_SERVICE_NAME": "a"}, {}, {"service.name": "a"}),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=b,team=x"}, {}, {"service.name": "b", "team": "x"}),
        (
            {"OTEL_SERVICE_NAME": "a", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b,team=x"},
            {"team": "y"},
            {"service.name": "a", "team": "y"},
        ),
    ],
)
def test_who_we_are_has_variables(environ, configured, expected):
    """The name wins over the attributes, `resourceAttributes` over both."""
    assert expected.items() <= resource.attributes_of({}, environ, configured).items()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_LOGS_EXPORTER", "otlp,console"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1000000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "-1"),
        ("OTEL_PROPAGATORS", "ottrace"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "monotonic"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "native"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:port"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(variable, value):
    """In the condition of the resource, which is where anybody looks."""
    with pytest.raises(errors.SettingsInvalid) as refused:
        settings.from_spec({"traces": {}, "metrics": {"otlp": {}}, "logs": {"otlp": {}}}, {variable: value})
    assert refused.value.path == variable


SPAN = """
import asyncio, os
from kymograph.telemetry import providers, settings

class Exporter:
    def export(self, spans):
        print(*(len(part) for span in spans for part in (span.attributes, span.attributes["a"], span.events)))
    def shutdown(self):
        pass

async def main():
    telemetry = providers.Telemetry(lambda *_: ("", {}), facts={}, environ={}, make_exporter=lambda _: Exporter())
    await telemetry.apply(settings.from_spec({"traces": {"samplingRatePerMillion": 1_000_000}}))
    with telemetry.tracer.start_as_current_span("WORK", attributes={"a": "long", "b": "c", "d": "e"}) as span:
        span.add_event("one")
        span.add_event("two")
    telemetry.meter_provider.force_flush()
    await telemetry.shutdown(30.0)

asyncio.run(main())
"""


@pytest.mark.parametrize("value", ["lots", "1"])
def test_a_variable_of_the_sdk_that_is_no_default_here_changes_nothing(value):
    """Neither whether the process starts, nor what the spans of background work say."""
    known = {name for name in vars(environment_variables).values() if isinstance(name, str) and name[:5] == "OTEL_"}
    meant = {name: value for name in known if not name.startswith("OTEL_PYTHON_")}  # those choose parts of the SDK
    assert {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_METRIC_EXPORT_TIMEOUT"} <= set(meant)
    command, environ = [sys.executable, "-c", SPAN], {**os.environ, **meant}
    ran = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr, ran.returncode) == ("3 4 2\n", "", 0)


@pytest.mark.parametrize(("text", "why"), [("1h", "between 100ms and 10m"), ("soon", "timeout"), ("10ms", "between")])
def test_a_timeout_has_bounds(text, why):
    """What is longer holds up those that follow."""
    with pytest.raises(errors.SettingsInvalid, match=why):
        exporter("TRACES", {"timeout": text}, {})


def test_every_setting_of_an_exporter_can_come_from_the_environment():
    """So that no field of `ExporterDefaults` is read and forgotten."""
    assert {field.name for field in dataclasses.fields(environment.ExporterDefaults)} == {
        "endpoint",
        "insecure",
        "path",
        "headers",
        "protocol",
        "timeout",
        "gzip",
        "ca_secret",
        "files",
    }
