"""Telemetry leaves the installed operator for several receivers: spans for two at once, and log records."""

import pytest

from kymograph.objecttrace.sources import otlp as otlp_source
from support import logreceivers, otlpservice
from support.installed import NO_PRIVILEGES, TRACING, eventually, pod


@pytest.fixture
def log_receiver():
    receiver = logreceivers.Receiver(otlpservice.HTTP)
    yield receiver
    receiver.stop()


def review_of(name):
    """Whether a span is the server span of the review of an object."""
    return lambda span: span.kind == "server" and span.attributes.get("admission.request.name") == name


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"traces": {"compression": "zstd"}}, "spec.traces.compression"),
        ({"traces": {"timeout": "1h"}}, "must be a duration between 100ms and 10m"),
        ({"traces": {"additional": [{"name": "a"}]}}, "spec.traces.additional[0].endpoint"),
        ({"traces": {"additional": [{"name": "a", "endpoint": "a:1"}] * 2}}, "spec.traces.additional[1]"),
        (
            {"traces": {"additional": [{"name": "a", "endpoint": "a:1", "insecure": True, "tls": {}}]}},
            "insecure and tls exclude each other",
        ),
        ({"logs": {"otlp": {"level": "loud"}}}, "spec.logs.otlp.level"),
        ({"propagators": ["jaeger"]}, "spec.propagators[0]"),
    ],
)
def test_a_wrong_field_is_refused_by_the_api_server(installed, spec: dict, complaint: str) -> None:
    """The author reads the field in kubectl's answer."""
    document = {"apiVersion": "kymograph.dev/v1alpha1", "kind": "TracingConfiguration", "metadata": {"name": "default"}}
    refused = installed.kubectl("apply", "--dry-run=server", "-f", "-", given={**document, "spec": spec}, check=False)
    assert refused.returncode == 1
    assert complaint in refused.stderr


def test_a_denial_is_in_the_traces_of_two_receivers_and_in_the_log_of_a_third(
    installed, usual_configuration, enforce, otlp, log_receiver
) -> None:
    """The record carries the trace, and the status says of each whether it gets through."""
    enforce(NO_PRIVILEGES)
    with otlp_source.Receiver() as second:
        installed.put_in_force(
            {
                "traces": {
                    "endpoint": otlp.endpoint,
                    "samplingRatePerMillion": 1_000_000,
                    "additional": [{"name": "second", "endpoint": second.endpoint, "compression": "gzip"}],
                },
                "logs": {"otlp": {"endpoint": log_receiver.endpoint, "protocol": "http/protobuf"}},
            }
        )
        assert installed.create(pod("told-thrice", privileged=True)).returncode == 1
        span = otlp.wait_for(review_of("told-thrice"), 60)
        again = second.wait_for(review_of("told-thrice"), 60)
        assert (again.trace_id, again.span_id) == (span.trace_id, span.span_id)
        assert again.resource == span.resource

        _, record = log_receiver.wait_for("Denied: CREATE Pod default/told-thrice by no-privileges/no-privileges-rule")
        assert (record.trace_id.hex(), record.span_id.hex(), record.flags) == (span.trace_id, span.span_id, 1)
        assert log_receiver.resource["service.instance.id"] == span.resource["service.instance.id"]

        def all_get_through() -> bool:
            told = installed.get(*TRACING)["status"]
            exporting = next(each["status"] for each in told["conditions"] if each["type"] == "Exporting")
            through = {(each["signal"], each.get("name", "")) for each in told["exporters"] if each.get("lastSuccess")}
            return (exporting, through) == ("True", {("traces", ""), ("traces", "second"), ("logs", "")})

        eventually(all_get_through)
