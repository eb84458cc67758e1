"""Settings and Secrets become a destination, or an error that names the field and nothing that a Secret holds."""

import dataclasses

import pytest

from kymograph.localcluster import pki
from kymograph.telemetry import destination, errors, settings

AUTHORITY = pki.Authority("collector-ca")
CLIENT = AUTHORITY.client("kymograph")
SECRETS = {
    "otel-ca": {"ca.pem": AUTHORITY.pair.certificate},
    "otel-client": {"tls.crt": CLIENT.certificate, "tls.key": CLIENT.key},
    "otel-token": {"token": b"Bearer s3cr3t\n"},
}
TRACES = {
    "endpoint": "collector:4317",
    "protocol": "http/protobuf",
    "tls": {
        "caSecretRef": {"name": "otel-ca", "key": "ca.pem"},
        "clientCertificateSecretRef": {"name": "otel-client"},
        "serverName": "collector.example",
    },
    "headers": [
        {"name": "x-scope-orgid", "value": "a"},
        {"name": "authorization", "valueFrom": {"secretKeyRef": {"name": "otel-token", "key": "token"}}},
    ],
}


def read(traces, environ=None):
    return settings.from_spec({"traces": traces}, environ or {})


def resolved(traces, secrets=SECRETS, environ=None):
    return destination.resolve(read(traces, environ).traces, secrets)


def test_secrets_are_named_and_put_in_the_place_of_their_names():
    assert read(TRACES).secrets == {"otel-ca", "otel-client", "otel-token"}
    assert resolved(TRACES) == destination.Destination(
        endpoint="collector:4317",
        protocol=destination.Protocol.HTTP,
        gzip=True,
        server_name="collector.example",
        headers=(("x-scope-orgid", "a"), ("authorization", "Bearer s3cr3t")),
        ca=AUTHORITY.pair.certificate,
        certificate=CLIENT.certificate,
        key=CLIENT.key,
    )


@pytest.mark.parametrize(
    ("traces", "environ", "compressed"),
    [
        ({"endpoint": "collector:4317"}, {}, True),
        ({"endpoint": "10.0.0.1:4318", "protocol": "http/protobuf", "insecure": True}, {}, True),
        ({"endpoint": "localhost:4317"}, {}, False),
        ({"endpoint": "[::1]:4317"}, {}, False),
        ({}, {}, False),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:4317"}, True),
        ({"endpoint": "collector:4317", "compression": "none"}, {}, False),
        ({"endpoint": "collector:4317"}, {"OTEL_EXPORTER_OTLP_COMPRESSION": "none"}, False),
        ({"endpoint": "localhost:4317", "compression": "gzip"}, {}, True),
    ],
)
def test_what_leaves_the_machine_is_compressed_unless_somebody_says_otherwise(traces, environ, compressed):
    assert read(traces, environ).traces.gzip is compressed


def test_no_representation_holds_a_secret():
    to = resolved(TRACES)
    for written in (repr(to), str(to), repr(read(TRACES)), f"{dataclasses.replace(to)}"):
        assert "s3cr3t" not in written
        assert "BEGIN" not in written


def test_rotated_secrets_are_another_destination():
    rotated = {**SECRETS, "otel-token": {"token": b"Bearer other"}}
    assert resolved(TRACES) == resolved(TRACES, dict(SECRETS))
    assert resolved(TRACES) != resolved(TRACES, rotated)


@pytest.mark.parametrize(
    ("secret", "data", "path"),
    [
        ("otel-ca", {}, "traces.tls.caSecretRef"),
        ("otel-ca", {"ca.pem": b""}, "traces.tls.caSecretRef"),
        ("otel-client", {"tls.crt": CLIENT.certificate}, "traces.tls.clientCertificateSecretRef"),
        ("otel-token", {"other": b"x"}, "traces.headers[authorization]"),
    ],
)
def test_an_entry_that_is_not_there_is_missing(secret, data, path):
    with pytest.raises(errors.SecretMissing) as missing:
        resolved(TRACES, {**SECRETS, secret: data})
    assert missing.value.path == path
    assert secret in str(missing.value)


@pytest.mark.parametrize(
    ("secret", "data", "complaint"),
    [
        ("otel-ca", {"ca.pem": b"top secret"}, "the CA cannot be used"),
        ("otel-ca", {"ca.pem": "\u00fc".encode()}, "the CA cannot be used: not PEM"),
        (
            "otel-client",
            {"tls.crt": CLIENT.certificate, "tls.key": AUTHORITY.client("other").key},
            "the client certificate or its key cannot be used: KEY_VALUES_MISMATCH",
        ),
        ("otel-client", {"tls.crt": b"top secret", "tls.key": b"top secret"}, "the client certificate or its key"),
        ("otel-token", {"token": b"top\nsecret"}, "not what a header can hold"),
        ("otel-token", {"token": b"top secret \xff"}, "not what a header can hold"),
        ("otel-token", {"token": b" \n"}, "not what a header can hold"),
    ],
)
def test_what_a_secret_holds_is_judged_and_never_repeated(secret, data, complaint):
    with pytest.raises(errors.SettingsInvalid) as invalid:
        resolved(TRACES, {**SECRETS, secret: data})
    assert complaint in str(invalid.value)
    assert "top" not in str(invalid.value)


@pytest.mark.parametrize(
    ("traces", "path"),
    [
        ({"protocol": "http/json"}, "traces.protocol"),
        ({"insecure": True, "tls": {}}, "traces.insecure"),
        ({"headers": [{"name": "Authorization", "value": "x"}]}, "traces.headers[0].name"),
        ({"headers": [{"name": "grpc-timeout", "value": "x"}]}, "traces.headers[0].name"),
        ({"headers": [{"name": "content-type", "value": "x"}]}, "traces.headers[0].name"),
        ({"headers": [{"name": "trace-bin", "value": "x"}]}, "traces.headers[0].name"),
        ({"headers": [{"name": "a"}]}, "traces.headers[0]"),
        ({"headers": [{"name": "a", "value": "x"}, {"name": "a", "value": "y"}]}, "traces.headers"),
        ({"headers": [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "s"}}}]}, "traces.headers[0].valueFrom"),
        ({"tls": {"caSecretRef": {"key": "ca.pem"}}}, "traces.tls.caSecretRef.name"),
        ({"tls": {"clientCertificateSecretRef": {}}}, "traces.tls.clientCertificateSecretRef.name"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_field(traces, path):
    with pytest.raises(errors.SettingsInvalid) as refused:
        read(traces)
    assert refused.value.path.startswith(path)


@pytest.mark.parametrize(
    ("traces", "endpoint", "plaintext"),
    [
        ({}, "localhost:4317", True),
        ({"protocol": "http/protobuf"}, "localhost:4318", True),
        ({"tls": {}}, "localhost:4317", False),
        ({"endpoint": "collector:4317"}, "collector:4317", False),
    ],
)
def test_tls_is_done_where_it_is_asked_for_and_off_this_machine(traces, endpoint, plaintext):
    to = resolved(traces)
    assert (to.endpoint, to.plaintext) == (endpoint, plaintext)


def test_a_receivers_words_are_cleared_of_what_it_was_told():
    to = resolved(TRACES)
    assert to.redacted("Bearer s3cr3t: no, s3cr3t is unknown") == "[redacted]: no, [redacted] is unknown"
    assert to.redacted("tenant a is unknown") == "tenant a is unknown", "short words are everywhere"


COMMON = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example/otlp/",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20s3cr3t,x-scope = a ,nonsense",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2500",
    "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
}


def test_the_environment_says_what_the_resource_does_not():
    assert resolved({}, environ=COMMON) == destination.Destination(
        "collector.example:443",
        destination.Protocol.HTTP,
        path="/otlp/v1/traces",
        timeout=2.5,
        gzip=True,
        headers=(("authorization", "Bearer s3cr3t"), ("x-scope", "a")),
    )


def test_the_variables_of_a_signal_stand_above_the_common_ones():
    own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://[::1]:4317/", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}
    to = resolved({}, environ={**COMMON, **own})
    assert (to.endpoint, to.protocol, to.path, to.plaintext) == ("[::1]:4317", destination.Protocol.GRPC, "/", True)


def test_the_environments_headers_go_to_the_environments_endpoint_only():
    """Or whoever may edit the resource could have them sent anywhere."""
    assert resolved({"endpoint": "elsewhere:4317"}, environ=COMMON).headers == ()
    assert resolved({"headers": [{"name": "x-scope", "value": "b"}]}, environ=COMMON).headers == (
        ("x-scope", "b"),
        ("authorization", "Bearer s3cr3t"),
    )


def test_https_in_the_environment_means_tls_on_this_machine_too():
    assert not resolved({}, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "https://localhost:4317"}).plaintext
    assert resolved({}, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}).plaintext


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:99999"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://user:s3cr3t@collector:4317"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(variable, value):
    with pytest.raises(errors.SettingsInvalid) as refused:
        read({}, {variable: value})
    assert refused.value.path == variable
    assert "s3cr3t" not in str(refused.value)
