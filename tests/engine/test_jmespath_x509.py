"""`x509_decode` shows certificates as Go's structs do; shapes and numbers were checked against Kyverno."""

import base64
import datetime as dt
import functools
import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.engine import budget, errors, jmespath

ALTERNATIVES = x509.SubjectAlternativeName(
    [
        x509.DNSName("*.example.com"),
        x509.RFC822Name("a@example.com"),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.UniformResourceIdentifier("https://u:p@host:80/a%2Fb?q=1#f"),
    ]
)
NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "a"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "b"),
        x509.NameAttribute(NameOID.COMMON_NAME, "\u00fc"),
    ]
)
SHOWN_NAME = {
    "Country": ["CH"],
    "Organization": None,
    "OrganizationalUnit": ["a", "b"],
    "Locality": None,
    "Province": None,
    "StreetAddress": None,
    "PostalCode": None,
    "SerialNumber": "",
    "CommonName": "\u00fc",
    "Names": [
        {"Type": [2, 5, 4, 6], "Value": "CH"},
        {"Type": [2, 5, 4, 11], "Value": "a"},
        {"Type": [2, 5, 4, 11], "Value": "b"},
        {"Type": [2, 5, 4, 3], "Value": "\u00fc"},
    ],
    "ExtraNames": None,
}


@functools.cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def builder(public: Any = None) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(public or key().public_key())
        .serial_number(2**70)
        .not_valid_before(dt.datetime(2021, 1, 2, 3, 4, 5, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2055, 1, 2, 3, 4, 5, tzinfo=dt.UTC))
    )


def pem(signed: Any) -> str:
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def decode(text: str) -> Any:
    return jmespath.compile("x509_decode(@)").search(text, budget.Budget())


def test_a_certificate() -> None:
    certificate = builder().sign(key(), hashes.SHA256())
    shown = decode(pem(certificate))
    assert shown["Raw"] == base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
    assert shown["RawTBSCertificate"] == base64.b64encode(certificate.tbs_certificate_bytes).decode()
    assert shown["Signature"] == base64.b64encode(certificate.signature).decode()
    assert shown["PublicKey"] == {"N": str(key().public_key().public_numbers().n), "E": 65537}
    assert shown["Subject"] == shown["Issuer"] == SHOWN_NAME
    assert (shown["NotBefore"], shown["NotAfter"]) == ("2021-01-02T03:04:05Z", "2055-01-02T03:04:05Z")
    assert (shown["Version"], shown["SignatureAlgorithm"], shown["PublicKeyAlgorithm"]) == (3, 4, 1)
    assert shown["SerialNumber"] == 2.0**70
    assert shown["DNSNames"] is shown["Extensions"] is shown["ExtKeyUsage"] is None
    assert (shown["IsCA"], shown["MaxPathLen"], shown["KeyUsage"]) == (False, 0, 0)


def test_the_extensions_of_a_certificate() -> None:
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=True,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=True,
    )
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ObjectIdentifier("1.2.3.4")])
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(x509.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://o")),
            x509.AccessDescription(
                x509.AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://i")
            ),
        ]
    )
    points = [x509.DistributionPoint([x509.UniformResourceIdentifier("http://c")], None, None, None)]
    network = x509.IPAddress(ipaddress.ip_network("10.0.0.0/8"))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key().public_key())
    signed = (
        builder()
        .add_extension(ALTERNATIVES, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(purposes, critical=False)
        .add_extension(access, critical=False)
        .add_extension(x509.CRLDistributionPoints(points), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key().public_key()), critical=False)
        .add_extension(x509.NameConstraints([network], [x509.DNSName("x.y")]), critical=True)
        .add_extension(
            x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("2.23.1"), None)]), critical=False
        )
        .add_extension(x509.PolicyConstraints(2, 0), critical=True)
        .add_extension(x509.InhibitAnyPolicy(1), critical=True)
        .add_extension(x509.UnrecognizedExtension(ObjectIdentifier("1.2.9"), b"\x05\x00"), critical=True)
        .sign(key(), hashes.SHA512())
    )
    shown = decode(pem(signed))
    digest = base64.b64encode(identifier.digest).decode()
    assert len(shown["Extensions"]) == 13
    assert shown["Extensions"][1] == {"Id": [2, 5, 29, 19], "Critical": True, "Value": "MAYBAf8CAQA="}
    expected = {
        "SignatureAlgorithm": 6,
        "DNSNames": ["*.example.com"],
        "EmailAddresses": ["a@example.com"],
        "IPAddresses": ["2001:db8::1"],
        "BasicConstraintsValid": True,
        "IsCA": True,
        "MaxPathLen": 0,
        "MaxPathLenZero": True,
        "KeyUsage": 0b101110101,
        "ExtKeyUsage": [2],
        "UnknownExtKeyUsage": [[1, 2, 3, 4]],
        "OCSPServer": ["http://o"],
        "IssuingCertificateURL": ["http://i"],
        "CRLDistributionPoints": ["http://c"],
        "SubjectKeyId": digest,
        "AuthorityKeyId": digest,
        "PermittedIPRanges": [{"IP": "10.0.0.0", "Mask": "/wAAAA=="}],
        "ExcludedDNSDomains": ["x.y"],
        "PermittedDNSDomainsCritical": True,
        "PolicyIdentifiers": [[2, 23, 1]],
        "Policies": ["2.23.1"],
        "RequireExplicitPolicy": 2,
        "InhibitPolicyMapping": 0,
        "InhibitPolicyMappingZero": True,
        "InhibitAnyPolicy": 1,
        "UnhandledCriticalExtensions": [[1, 2, 9]],
    }
    assert {name: shown[name] for name in expected} == expected
    assert shown["URIs"] == [
        {
            "Scheme": "https",
            "Opaque": "",
            "User": {},
            "Host": "host:80",
            "Path": "/a/b",
            "Fragment": "f",
            "RawQuery": "q=1",
            "RawPath": "/a%2Fb",
            "RawFragment": "",
            "ForceQuery": False,
            "OmitHost": False,
        }
    ]


def test_a_certificate_request() -> None:
    request = x509.CertificateSigningRequestBuilder().subject_name(NAME)
    asked = request.add_extension(ALTERNATIVES, critical=False).add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    )
    shown = decode(pem(asked.sign(key(), hashes.SHA256())))
    assert (shown["Version"], shown["Subject"], shown["DNSNames"]) == (0, SHOWN_NAME, ["*.example.com"])
    (attribute,) = shown["Attributes"]
    assert attribute["Type"] == [1, 2, 840, 113549, 1, 9, 14]
    assert attribute["Value"][0][1] == {"Type": [2, 5, 29, 19], "Value": True}
    assert [extension["Id"] for extension in shown["Extensions"]] == [[2, 5, 29, 17], [2, 5, 29, 19]]
    assert decode(pem(request.sign(key(), hashes.SHA256())))["Attributes"] is None


def test_a_probabilistic_signature() -> None:
    scheme = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    assert decode(pem(builder().sign(key(), hashes.SHA384(), rsa_padding=scheme)))["SignatureAlgorithm"] == 14


def test_what_surrounds_a_block_does_not_matter() -> None:
    text = pem(builder().sign(key(), hashes.SHA256()))
    shown = decode(text)
    headed = text.replace("CERTIFICATE-----\n", "CERTIFICATE-----\nName: x\n\n", 1)
    for variant in (f"junk\n{text}{text[:50]}", text.replace("\n", "\r\n"), text.strip(), headed):
        assert decode(variant) == shown


def test_only_rsa_is_decoded() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(errors.EvaluationError, match="certificate should use rsa algorithm"):
        decode(pem(builder(other.public_key()).sign(key(), hashes.SHA256())))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "failed to decode PEM block"),
        ("-----BEGIN CERTIFICATE-----\nYQ==\n", "failed to decode PEM block"),
        ("-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n", "x509: malformed certificate"),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\nYQ==\n-----END CERTIFICATE REQUEST-----\n",
            "asn1: syntax error: truncated tag or length",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\nYQ==\n-----END PUBLIC KEY-----\n",
            "PEM block neither contains a CERTIFICATE or CERTIFICATE REQUEST",
        ),
    ],
)
def test_refuses_in_kyvernos_words(text: str, reason: str) -> None:
    with pytest.raises(errors.EvaluationError) as failed:
        decode(text)
    assert str(failed.value) == reason


@settings(deadline=None)
@given(st.data())
def test_no_damage_breaks_the_decoder(data: st.DataObject) -> None:
    signed = builder().add_extension(ALTERNATIVES, critical=False).sign(key(), hashes.SHA256())
    der = bytearray(signed.public_bytes(serialization.Encoding.DER))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    body = base64.encodebytes(bytes(der)).decode()
    try:
        shown = decode(f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
    except errors.EvaluationError as refused:
        shown = str(refused)
    assert shown
