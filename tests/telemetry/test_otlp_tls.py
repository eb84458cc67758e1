"""TLS and client certificates, by gRPC and HTTP, against receivers that mean it; authorities and keys that rotate."""

import asyncio

import pytest

from kymograph.localcluster import pki
from kymograph.telemetry import destination, errors, otlp, providers, settings
from kymograph.telemetry.export import Reason
from support import receivers as fakes

AUTHORITY, NEXT_AUTHORITY = pki.Authority("collector-ca"), pki.Authority("next-collector-ca")
HERE = AUTHORITY.server("collector", ["127.0.0.1"])
ELSEWHERE = AUTHORITY.server("collector", ["collector.example"])
CLIENTS = pki.Authority("clients")
US = CLIENTS.client("kymograph")
PATIENCE = 30.0
PARENT = f"00-{7:032x}-{9:016x}-01"


@pytest.fixture(params=fakes.PROTOCOLS)
def protocol(request):
    return destination.Protocol(request.param)


def send(endpoint, protocol, **given):
    """Export an empty batch; why it failed, or an empty string. Tests that use it try once: see `one_try`."""
    exporter = otlp.SpanExporter(destination.Destination(endpoint, protocol, timeout=PATIENCE, **given), fakes.ORIGIN)
    try:
        exporter.export([])
    except errors.ExportFailed as failure:
        return str(failure)
    finally:
        exporter.shutdown()
    return ""


@pytest.mark.usefixtures("one_try")
def test_a_receiver_is_believed_if_the_configured_authority_says_so(receivers, protocol):
    receiver = receivers(protocol, tls=HERE)
    assert send(receiver.endpoint, protocol, ca=AUTHORITY.pair.certificate) == ""
    assert "CERTIFICATE_VERIFY_FAILED" in send(receiver.endpoint, protocol, ca=NEXT_AUTHORITY.pair.certificate)
    both = NEXT_AUTHORITY.pair.certificate + AUTHORITY.pair.certificate
    assert send(receiver.endpoint, protocol, ca=both) == "", "a bundle in the middle of a rotation"
    assert len(receiver.requests) == 2


@pytest.mark.usefixtures("one_try")
def test_without_one_the_systems_authorities_are_asked(receivers, protocol, monkeypatch, tmp_path):
    receiver = receivers(protocol, tls=HERE)
    assert "CERTIFICATE_VERIFY_FAILED" in send(receiver.endpoint, protocol)
    roots = tmp_path / "roots.pem"
    roots.write_bytes(AUTHORITY.pair.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    assert send(receiver.endpoint, protocol) == ""


@pytest.mark.usefixtures("one_try")
def test_the_certificate_must_be_for_the_endpoint_or_the_configured_name(receivers, protocol):
    receiver = receivers(protocol, tls=ELSEWHERE)
    ca = AUTHORITY.pair.certificate
    assert send(receiver.endpoint, protocol, ca=ca) != ""
    assert send(receiver.endpoint, protocol, ca=ca, server_name="other.example") != ""
    assert send(receiver.endpoint, protocol, ca=ca, server_name="collector.example") == ""


@pytest.mark.usefixtures("one_try")
def test_a_receiver_that_demands_a_certificate_gets_ours(receivers, protocol):
    receiver = receivers(protocol, tls=HERE, client_ca=CLIENTS.pair.certificate)
    ca = AUTHORITY.pair.certificate
    assert send(receiver.endpoint, protocol, ca=ca) != ""
    stranger = NEXT_AUTHORITY.client("kymograph")
    assert send(receiver.endpoint, protocol, ca=ca, certificate=stranger.certificate, key=stranger.key) != ""
    assert send(receiver.endpoint, protocol, ca=ca, certificate=US.certificate, key=US.key) == ""
    assert len(receiver.requests) == 1


@pytest.mark.usefixtures("one_try")
def test_a_plaintext_exporter_gets_nothing_into_a_tls_receiver(receivers, protocol):
    receiver = receivers(protocol, tls=HERE)
    assert send(receiver.endpoint, protocol, plaintext=True) != ""
    assert receiver.headers == []


async def test_rotation_of_authority_and_client_certificate_loses_nothing(receivers, protocol, port):
    """The receiver has already changed when we learn of it: what it could not be given meanwhile is given then."""
    telemetry = providers.Telemetry(lambda _, subject: (f"RULE {subject}", {}), facts={}, environ={})
    traces = settings.from_spec(
        {
            "traces": {
                "endpoint": f"127.0.0.1:{(old := receivers(protocol, port=port, tls=HERE)).port}",
                "protocol": protocol.value,
                "timeout": "2m",  # what the receiver refuses is tried until we have learned of its change
                "tls": {
                    "caSecretRef": {"name": "otel-ca", "key": "ca.pem"},
                    "clientCertificateSecretRef": {"name": "otel-client"},
                },
            }
        }
    )
    secrets = {
        "otel-ca": {"ca.pem": AUTHORITY.pair.certificate},
        "otel-client": {"tls.crt": US.certificate, "tls.key": US.key},
    }
    await telemetry.apply(traces, secrets)
    assert review(telemetry, "before")
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    old.stop()

    rotated = NEXT_AUTHORITY.server("collector", ["127.0.0.1"])
    new = receivers(protocol, port=port, tls=rotated, client_ca=NEXT_AUTHORITY.pair.certificate)
    assert review(telemetry, "while")
    ours = NEXT_AUTHORITY.client("kymograph")
    secrets = {
        "otel-ca": {"ca.pem": NEXT_AUTHORITY.pair.certificate},
        "otel-client": {"tls.crt": ours.certificate, "tls.key": ours.key},
    }
    await telemetry.apply(traces, secrets)
    assert review(telemetry, "after")
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    assert {span.name for span in old.spans} == {"RULE before", "admission"}
    assert {span.name for span in new.spans} == {"RULE while", "RULE after", "admission"}
    assert telemetry.queue.status().dropped == dict.fromkeys(Reason, 0)
    await telemetry.shutdown(1.0)


async def test_secrets_that_cannot_be_used_leave_the_exporter_in_force_alone(receivers, protocol):
    telemetry = providers.Telemetry(lambda _, subject: (f"RULE {subject}", {}), facts={}, environ={})
    receiver = receivers(protocol, tls=HERE)
    traces = settings.from_spec(
        {
            "traces": {
                "endpoint": receiver.endpoint,
                "protocol": protocol.value,
                "tls": {"caSecretRef": {"name": "otel-ca", "key": "ca.pem"}},
            }
        }
    )
    await telemetry.apply(traces, {"otel-ca": {"ca.pem": AUTHORITY.pair.certificate}})
    for broken, error in (({"ca.pem": b"nonsense"}, errors.SettingsInvalid), ({}, errors.SecretMissing)):
        with pytest.raises(error):
            await telemetry.apply(traces, {"otel-ca": broken})
    assert review(telemetry, "all the same")
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    assert len(receiver.spans) == 2
    await telemetry.shutdown(1.0)


def review(telemetry, name):
    record = telemetry.begin(PARENT, None, 0)
    record.begin(1, name, 10)
    record.end("pass", "", 20)
    record.finish("admission", {}, 30)
    return telemetry.keep(record)
