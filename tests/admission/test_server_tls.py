"""TLS: versions, certificates replaced under live connections, client certificates demanded."""

import asyncio
import contextlib
import socket
import ssl
import warnings

import pytest
import uvloop

from kymograph.controllers.admission import server
from kymograph.controllers.admission.server import errors
from kymograph.runtime import certificates
from support import webhooks

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def served(request):
    with webhooks.serve(request.param) as running:
        yield running


def serving(authority=webhooks.AUTHORITY):
    return certificates.issue_serving(authority, ["localhost"], [], webhooks.NOW)


def is_admitted(served, context) -> bool:
    """With TLS 1.3 a client learns that its certificate is refused only when it reads."""
    try:
        with served.client(context) as client:
            return client.post().status == 200
    except (ssl.SSLError, ConnectionError):
        return False


def test_a_new_certificate_is_used_at_once_and_old_connections_live_on(served):
    with served.client() as before:
        assert before.post().status == 200
        renewed = serving()
        served.tls.load(renewed.certificate, renewed.key)
        with served.client() as after:
            shown = after.socket.getpeercert(binary_form=True)
            assert shown == ssl.PEM_cert_to_DER_cert(renewed.certificate.decode())
            assert shown != before.socket.getpeercert(binary_form=True)
            assert [client.post().status for client in (before, after, before)] == [200] * 3


@pytest.mark.parametrize(
    "broken",
    [
        lambda: (serving().certificate, serving().key),
        lambda: (b"", serving().key),
        lambda: (serving().certificate, b""),
        lambda: (b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", serving().key),
        lambda: (*vars_of(serving()), b"no certificate"),
        lambda: (*vars_of(serving()), "schlüssel".encode()),
        lambda: (*vars_of(serving()), b""),
    ],
    ids=[
        "key of another",
        "no certificate",
        "no key",
        "broken",
        "client CA is no PEM",
        "client CA is no ASCII",
        "empty",
    ],
)
def test_what_cannot_be_used_is_rejected_and_the_certificate_before_stays(served, broken):
    with pytest.raises(errors.CertificateRejected):
        served.tls.load(*broken())
    assert is_admitted(served, webhooks.trusting())


def vars_of(pair):
    return pair.certificate, pair.key


def test_an_encrypted_key_is_rejected_rather_than_asked_for_on_the_terminal():
    from cryptography.hazmat.primitives import serialization

    pair = serving()
    key = serialization.load_pem_private_key(pair.key, None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    with pytest.raises(errors.CertificateRejected):
        server.TLS().load(pair.certificate, locked)


def test_client_certificates_are_demanded_from_when_a_client_ca_is_loaded_until_it_is_not(served, tmp_path):
    """No session of before, and no authority of before, opens the door."""
    one, other = certificates.issue_ca(webhooks.NOW), certificates.issue_ca(webhooks.NOW)
    contexts = {"nobody": webhooks.trusting()}
    for name, authority in {"one": one, "other": other}.items():
        folder = tmp_path / name
        folder.mkdir()
        client = certificates.issue_client(authority, "kube-apiserver", ["webhooks"], webhooks.NOW)
        contexts[name] = webhooks.trusting(client, folder)

    def admitted():
        return {name for name, context in contexts.items() if is_admitted(served, context)}

    pair = serving()
    assert admitted() == {"nobody", "one", "other"}
    served.tls.load(pair.certificate, pair.key, one.certificate)
    assert admitted() == {"one"}
    served.tls.load(pair.certificate, pair.key, other.certificate)
    assert admitted() == {"other"}
    served.tls.load(pair.certificate, pair.key, one.certificate + other.certificate)
    assert admitted() == {"one", "other"}
    served.tls.load(pair.certificate, pair.key)
    assert admitted() == {"nobody", "one", "other"}


def test_a_serving_certificate_is_no_client_certificate(served, tmp_path):
    pair = serving()
    served.tls.load(pair.certificate, pair.key, webhooks.AUTHORITY.certificate)
    assert not is_admitted(served, webhooks.trusting(pair, tmp_path))


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_tls_below_1_2_is_refused(served, version):
    context = webhooks.trusting()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    assert is_admitted(served, context) == (version in {"TLSv1_2", "TLSv1_3"})


def test_http_1_1_is_what_is_agreed_on(served):
    context = webhooks.trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with served.client(context) as client:
        assert client.socket.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize(
    "sent", [b"", b"POST /echo HTTP/1.1\r\n\r\n", b"\x16\x03\x01"], ids=["silence", "http", "part"]
)
@pytest.mark.parametrize("make_loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_connection_without_a_handshake_ends_soon(make_loop, sent):
    with webhooks.serve(make_loop, limits=server.Limits(handshake_timeout=0.3)) as served:
        with socket.create_connection(("127.0.0.1", served.port), 30) as plain, contextlib.suppress(ConnectionError):
            plain.sendall(sent)
            while plain.recv(1000):
                pass
        webhooks.until(lambda: served.server.connections == 0)
        webhooks.until(lambda: is_admitted(served, webhooks.trusting()))  # a handshake may take longer here, too


def test_nobody_is_served_before_a_certificate_is_loaded():
    with pytest.raises(ssl.SSLError):
        server.TLS().context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
