"""Issues certificates: the authority itself, what a server presents, what a client shows.

Extensions follow RFC 5280 and what Go, OpenSSL and the CA/Browser profile check: critical basicConstraints and
keyUsage, extendedKeyUsage, subjectAltName, key identifiers, and serial numbers of 159 random bits. Keys are ECDSA
P-256: an RSA key takes a thousand times as long to make.
"""

import dataclasses
import datetime as dt
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLOCK_SKEW = dt.timedelta(minutes=5)
"""How much earlier than now a certificate begins, for verifiers whose clock is behind."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM.

    Attributes:
        certificate: The certificate.
        key: The private key (PKCS #8, not encrypted).
    """

    certificate: bytes
    key: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """Who signs.

    Attributes:
        certificate: Its own certificate.
        key: The private key of that.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = dataclasses.field(repr=False)

    @property
    def pair(self) -> KeyPair:
        """The authority as PEM."""
        return _pair(self.certificate, self.key)

    def serving(
        self, common_name: str, names: Sequence[x509.GeneralName], now: dt.datetime, lifetime: dt.timedelta
    ) -> KeyPair:
        """A certificate for a server.

        Args:
            common_name: The server's name.
            names: Host names and IP addresses it is for; at least one.
            now: The time, with a time zone.
            lifetime: From now to its end, or to the authority's end if that comes first.
        """
        return self._issue(_subject(common_name), ExtendedKeyUsageOID.SERVER_AUTH, names, now, lifetime)

    def client(
        self, common_name: str, organizations: Sequence[str], now: dt.datetime, lifetime: dt.timedelta
    ) -> KeyPair:
        """A certificate for a client.

        Args:
            common_name: The user's name, as Kubernetes reads client certificates.
            organizations: The user's groups.
            now: The time, with a time zone.
            lifetime: From now to its end, or to the authority's end if that comes first.
        """
        return self._issue(_subject(common_name, organizations), ExtendedKeyUsageOID.CLIENT_AUTH, (), now, lifetime)

    def _issue(
        self,
        subject: x509.Name,
        purpose: x509.ObjectIdentifier,
        names: Sequence[x509.GeneralName],
        now: dt.datetime,
        lifetime: dt.timedelta,
    ) -> KeyPair:
        issuer = self.certificate
        key = ec.generate_private_key(ec.SECP256R1())
        end = min(now + lifetime, issuer.not_valid_after_utc)
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _builder(subject, issuer.subject, key.public_key(), now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _pair(builder.sign(self.key, hashes.SHA256()), key)


def found(common_name: str, now: dt.datetime, lifetime: dt.timedelta) -> Authority:
    """A new self-signed authority, which signs no further authorities.

    Args:
        common_name: Who it says it is.
        now: The time, with a time zone.
        lifetime: From now to its end.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject(common_name)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key.public_key(), now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _subject(common_name: str, organizations: Sequence[str] = ()) -> x509.Name:
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


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
