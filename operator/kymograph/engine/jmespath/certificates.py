"""Kyverno's `x509_decode`: an RSA certificate or certificate request as the map that Go's `crypto/x509` shows of it.

Names and shapes are those of Go's structs, absent lists are null, raw parts are base64. Nothing is verified: neither
signature nor dates.
"""

import base64
import binascii
import re
from typing import Any

from kymograph.engine import errors
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath import der, extensions
from kymograph.engine.jmespath.functions import from_float

_LONGEST = 256 * 1024
_PEM = re.compile(
    r"^-----BEGIN ([^\n-]+)-----[ \t]*\r?\n(?:[^\n:]+:[^\n]*\n)*([A-Za-z0-9+/=\s]*?)-----END \1-----[ \t]*\r?$",
    re.MULTILINE,
)
_NOT_RSA = "certificate should use rsa algorithm"
_RSA = (1, 2, 840, 113549, 1, 1, 1)
_PSS = (1, 2, 840, 113549, 1, 1, 10)
_EXTENSION_REQUEST = (1, 2, 840, 113549, 1, 9, 14)
_SIGNATURES: dict[tuple[int, ...], int] = {  # Go's numbers of the algorithms
    (1, 2, 840, 113549, 1, 1, 2): 1,
    (1, 2, 840, 113549, 1, 1, 4): 2,
    (1, 2, 840, 113549, 1, 1, 5): 3,
    (1, 2, 840, 113549, 1, 1, 11): 4,
    (1, 2, 840, 113549, 1, 1, 12): 5,
    (1, 2, 840, 113549, 1, 1, 13): 6,
    (1, 2, 840, 10040, 4, 3): 7,
    (2, 16, 840, 1, 101, 3, 4, 3, 2): 8,
    (1, 2, 840, 10045, 4, 1): 9,
    (1, 2, 840, 10045, 4, 3, 2): 10,
    (1, 2, 840, 10045, 4, 3, 3): 11,
    (1, 2, 840, 10045, 4, 3, 4): 12,
    (1, 3, 101, 112): 16,
}
_PSS_HASHES: dict[tuple[int, ...], int] = {(2, 16, 840, 1, 101, 3, 4, 2, number): 12 + number for number in (1, 2, 3)}
_NAMES = {
    6: "Country",
    7: "Locality",
    8: "Province",
    9: "StreetAddress",
    10: "Organization",
    11: "OrganizationalUnit",
    17: "PostalCode",
}
_SINGLE_NAMES = {3: "CommonName", 5: "SerialNumber"}


def decode(text: str, budget: Budget) -> dict[str, Any]:
    """Decode the first PEM block of a text.

    Raises:
        EvaluationError: It is neither certificate nor request, malformed, or of another kind of key; in Go's words.
    """
    if len(text) > _LONGEST:
        raise errors.EvaluationError(f"the certificate is longer than {_LONGEST} characters")
    budget.spend(1 + len(text) // 8)
    budget.allocate(16 * len(text))
    block = _PEM.search(text)
    try:
        data = base64.b64decode("".join(block[2].split()), validate=True) if block is not None else b""
    except binascii.Error:
        block = None
    if block is None:
        raise errors.EvaluationError("failed to decode PEM block")
    try:
        match block[1]:
            case "CERTIFICATE":
                return _certificate(data)
            case "CERTIFICATE REQUEST":
                return _request(data)
    except (ValueError, IndexError) as problem:  # not DER, a list of another length, no text of its encoding
        reason = "x509: malformed certificate" if block[1] == "CERTIFICATE" else f"asn1: syntax error: {problem}"
        raise errors.EvaluationError(reason) from None
    raise errors.EvaluationError("PEM block neither contains a CERTIFICATE or CERTIFICATE REQUEST")


def _certificate(data: bytes) -> dict[str, Any]:
    whole = der.read(data).expect(der.SEQUENCE)
    signed, algorithm, signature = whole.children()[:3]
    parts = signed.expect(der.SEQUENCE).children()
    version = parts.pop(0).inner().integer() + 1 if parts[0].tag == 0xA0 else 1
    serial, _, issuer, validity, subject, key = parts[:6]
    not_before, not_after = validity.expect(der.SEQUENCE).children()
    written = next((part.inner().children() for part in parts[6:] if part.tag == 0xA3), [])
    return {
        "Raw": extensions.base64_of(whole.raw),
        "RawTBSCertificate": extensions.base64_of(signed.raw),
        "RawSubjectPublicKeyInfo": extensions.base64_of(key.raw),
        "RawSubject": extensions.base64_of(subject.raw),
        "RawIssuer": extensions.base64_of(issuer.raw),
        "Signature": extensions.base64_of(signature.bits()),
        "SignatureAlgorithm": _signature_algorithm(algorithm),
        "PublicKeyAlgorithm": 1,
        "PublicKey": _public_key(key),
        "Version": version,
        "SerialNumber": from_float(float(serial.expect(der.INTEGER).big_integer())),
        "Issuer": _name(issuer),
        "Subject": _name(subject),
        "NotBefore": _time(not_before),
        "NotAfter": _time(not_after),
        **extensions.of_certificate(written),
    }


def _request(data: bytes) -> dict[str, Any]:
    whole = der.read(data).expect(der.SEQUENCE)
    signed, algorithm, signature = whole.children()[:3]
    version, subject, key, *rest = signed.expect(der.SEQUENCE).children()
    attributes: list[dict[str, Any]] = []
    written: list[der.Element] = []
    for attribute in rest[0].children() if rest else []:
        kind, contents = attribute.expect(der.SEQUENCE).children()
        if kind.oid() != _EXTENSION_REQUEST:
            continue
        requested = [one.expect(der.SEQUENCE).children() for one in contents.expect(der.SET).children()]
        written.extend(one for some in requested for one in some)
        shown = [[_attribute(one) for one in some] for some in requested]
        attributes.append({"Type": list(kind.oid()), "Value": shown})
    return {
        "Raw": extensions.base64_of(whole.raw),
        "RawTBSCertificateRequest": extensions.base64_of(signed.raw),
        "RawSubjectPublicKeyInfo": extensions.base64_of(key.raw),
        "RawSubject": extensions.base64_of(subject.raw),
        "Version": version.expect(der.INTEGER).integer(),
        "Signature": extensions.base64_of(signature.bits()),
        "SignatureAlgorithm": _signature_algorithm(algorithm),
        "PublicKeyAlgorithm": 1,
        "PublicKey": _public_key(key),
        "Subject": _name(subject),
        "Attributes": attributes or None,
        **extensions.of_request(written),
    }


def _attribute(extension: der.Element) -> dict[str, Any]:
    """An extension as Go shows it among attributes: its identifier and whatever comes next."""
    kind, following, *_ = extension.expect(der.SEQUENCE).children()
    value = following.content != b"\0" if following.tag == der.BOOLEAN else extensions.base64_of(following.content)
    return {"Type": list(kind.oid()), "Value": value}


def _signature_algorithm(element: der.Element) -> int:
    kind, *parameters = element.expect(der.SEQUENCE).children()
    if kind.oid() != _PSS:
        return _SIGNATURES.get(kind.oid(), 0)
    hashes = [part.inner() for part in parameters[0].children() if part.tag == 0xA0] if parameters else []
    return _PSS_HASHES.get(hashes[0].children()[0].oid(), 0) if hashes else 0


def _public_key(element: der.Element) -> dict[str, Any]:
    algorithm, key = element.expect(der.SEQUENCE).children()
    if algorithm.expect(der.SEQUENCE).children()[0].oid() != _RSA:
        raise errors.EvaluationError(_NOT_RSA)
    modulus, exponent = der.read(key.expect(der.BIT_STRING).bits()).expect(der.SEQUENCE).children()
    if len(modulus.content) > 1100:  # digits of a larger one would not be written
        raise errors.EvaluationError("failed to parse subject public key info")
    return {"N": str(modulus.big_integer()), "E": exponent.integer()}


def _name(element: der.Element) -> dict[str, Any]:
    """A distinguished name."""
    shown: dict[str, Any] = dict.fromkeys(_NAMES.values()) | {"SerialNumber": "", "CommonName": ""}
    names: list[dict[str, Any]] = []
    for group in element.expect(der.SEQUENCE).children():
        for pair in group.expect(der.SET).children():
            kind, value = pair.expect(der.SEQUENCE).children()
            oid, text = kind.oid(), value.text()
            if text is None:
                raise der.Malformed("a name is no text")
            names.append({"Type": list(oid), "Value": text})
            if oid[:3] != (2, 5, 4) or len(oid) != 4:
                continue
            if oid[3] in _SINGLE_NAMES:
                shown[_SINGLE_NAMES[oid[3]]] = text
            elif oid[3] in _NAMES:
                field = _NAMES[oid[3]]
                shown[field] = [*(shown[field] or ()), text]
    return shown | {"Names": names or None, "ExtraNames": None}


def _time(element: der.Element) -> str:
    """UTCTime (years 1950 to 2049) or GeneralizedTime in RFC 3339."""
    text = element.content.decode("ascii")
    if element.tag == der.UTC_TIME:
        text = ("19" if text >= "5" else "20") + text
    elif element.tag != der.GENERALIZED_TIME:
        raise der.Malformed("a date is no time")
    if re.fullmatch(r"[0-9]{14}Z", text) is None:
        raise der.Malformed("a time has another form")
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[8:10]}:{text[10:12]}:{text[12:14]}Z"
