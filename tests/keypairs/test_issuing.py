"""What is issued, as OpenSSL judges it; the rest of its rules is tested where the operator keeps its own authority."""

import datetime as dt
import ssl

import pytest
from cryptography import x509

from kymograph.keypairs import issuing, presenting

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)
AUTHORITY = issuing.found("authority", NOW, 2 * DAY)
NAMES = [x509.DNSName("webhooks.example")]


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A handshake in memory; raises what one of the two says against it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    called = client.wrap_bio(to_client, to_server, server_hostname=name)
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [called, serving]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)


def meet(serving: issuing.KeyPair, caller: issuing.KeyPair, trusted: issuing.Authority = AUTHORITY) -> None:
    """Both sides demand a certificate of the trusted authority."""
    authorities = trusted.pair.certificate.decode()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authorities)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cadata=authorities)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    presenting.present(server, serving.certificate, serving.key)
    presenting.present(client, caller.certificate, caller.key)
    shake(server, client, "webhooks.example")


def test_each_for_its_purpose():
    """A server's certificate is one for its names, a client's is none for a server."""
    serving, caller = AUTHORITY.serving("server", NAMES, NOW, DAY), AUTHORITY.client("alice", ["staff"], NOW, DAY)
    meet(serving, caller)
    for wrong in (caller, AUTHORITY.serving("webhooks.example", [x509.DNSName("others.example")], NOW, DAY)):
        with pytest.raises(ssl.SSLCertVerificationError):
            meet(wrong, caller)
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(serving, caller, issuing.found("authority", NOW, DAY))


def test_what_it_issues_ends_with_it():
    """No certificate outlives its authority."""
    for pair in (AUTHORITY.serving("server", NAMES, NOW, 3 * DAY), AUTHORITY.client("alice", (), NOW, 3 * DAY)):
        ends = x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc
        assert ends == AUTHORITY.certificate.not_valid_after_utc


def test_subject_of_a_client():
    """Its groups and its name, as the API server reads them."""
    pair = AUTHORITY.client("alice", ["staff", "admins"], NOW, DAY)
    assert x509.load_pem_x509_certificate(pair.certificate).subject.rfc4514_string() == "CN=alice,O=admins,O=staff"


def test_keys_stay_out_of_what_is_printed():
    """Neither a pair nor an authority shows its key."""
    pair = AUTHORITY.serving("server", NAMES, NOW, DAY)
    assert "PRIVATE" not in repr(pair)
    assert "key" not in repr(AUTHORITY).lower()
