"""Issues certificates: the authority itself, what a server presents, what a client shows.

Extensions follow RFC 5280 and what Go, OpenSSL and the CA/Browser profile check: critical basicConstraints and
keyUsage, extendedKeyUsage, subjectAltName, key identifiers, and serial numbers of 159 random bits.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kymograph.runtime.certificates import pem
from kymograph.runtime.certificates.bundle import KeyPair

CLOCK_SKEW = dt.timedelta(minutes=5)
"""How much earlier than now a certificate begins, for verifiers whose clock is behind."""
AUTHORITY_LIFETIME = dt.timedelta(days=3650)
LIFETIME = dt.timedelta(days=365)


def issue_ca(now: dt.datetime, lifetime: dt.timedelta = AUTHORITY_LIFETIME) -> KeyPair:
    """A new self-signed authority.

    Its name contains the time, so that two authorities of an overlap differ in more than their keys and every verifier
    finds the right one.

    Args:
        now: The time, with a time zone.
        lifetime: From now to its end.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"kymograph-ca@{int(now.timestamp())}")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key.public_key(), now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def issue_serving(
    ca: KeyPair,
    dns_names: Sequence[str],
    ips: Sequence[str],
    now: dt.datetime,
    lifetime: dt.timedelta = LIFETIME,
) -> KeyPair:
    """A certificate for a server.

    Args:
        ca: The authority that signs.
        dns_names: Host names it is for.
        ips: IP addresses it is for. There must be a name or an address.
        now: The time, with a time zone.
        lifetime: From now to its end, or to the authority's end if that comes first.

    Raises:
        Unparsable: The authority cannot be read.
        ValueError: There is nothing it is for, or an address is none.
    """
    if not dns_names and not ips:
        raise ValueError("a serving certificate needs a name or an address")
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kymograph")])
    return _issue(ca, subject=subject, purpose=ExtendedKeyUsageOID.SERVER_AUTH, names=names, now=now, lifetime=lifetime)


def issue_client(
    ca: KeyPair,
    common_name: str,
    organizations: Sequence[str],
    now: dt.datetime,
    lifetime: dt.timedelta = LIFETIME,
) -> KeyPair:
    """A certificate for a client: the API server's webhook client, or whoever reports to this operator.

    Args:
        ca: The authority that signs.
        common_name: The user's name, as Kubernetes reads client certificates.
        organizations: The user's groups.
        now: The time, with a time zone.
        lifetime: From now to its end, or to the authority's end if that comes first.

    Raises:
        Unparsable: The authority cannot be read.
    """
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
        + [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    )
    return _issue(ca, subject=subject, purpose=ExtendedKeyUsageOID.CLIENT_AUTH, names=[], now=now, lifetime=lifetime)


def _issue(
    ca: KeyPair,
    *,
    subject: x509.Name,
    purpose: x509.ObjectIdentifier,
    names: Sequence[x509.GeneralName],
    now: dt.datetime,
    lifetime: dt.timedelta,
) -> KeyPair:
    authority = pem.certificates(ca.certificate)[0]
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + lifetime, authority.not_valid_after_utc)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        _builder(subject, authority.subject, key.public_key(), now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _pair(builder.sign(pem.private_key(ca.key), hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    end: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(end)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
