"""Extensions of X.509 certificates (RFC 5280, 4.2) under the names of the fields of Go's structs."""

import base64
import ipaddress
import urllib.parse
from collections.abc import Callable
from typing import Any, TypeAlias

from kymograph.engine.jmespath import der

_Fields: TypeAlias = dict[str, Any]

_ALTERNATIVE_NAMES = ("DNSNames", "EmailAddresses", "IPAddresses", "URIs")
_LISTS = (
    "UnhandledCriticalExtensions",
    "ExtKeyUsage",
    "UnknownExtKeyUsage",
    "SubjectKeyId",
    "AuthorityKeyId",
    "OCSPServer",
    "IssuingCertificateURL",
    *_ALTERNATIVE_NAMES,
    "PermittedDNSDomains",
    "ExcludedDNSDomains",
    "PermittedIPRanges",
    "ExcludedIPRanges",
    "PermittedEmailAddresses",
    "ExcludedEmailAddresses",
    "PermittedURIDomains",
    "ExcludedURIDomains",
    "CRLDistributionPoints",
    "PolicyIdentifiers",
    "Policies",
    "PolicyMappings",
)
_COUNTS = ("MaxPathLen", "InhibitAnyPolicy", "InhibitPolicyMapping", "RequireExplicitPolicy")
_KEY_USAGES: dict[tuple[int, ...], int] = {
    (2, 5, 29, 37, 0): 0,
    **{(1, 3, 6, 1, 5, 5, 7, 3, number): number for number in range(1, 10)},
    (1, 3, 6, 1, 4, 1, 311, 10, 3, 3): 10,
    (2, 16, 840, 1, 113730, 4, 1): 11,
    (1, 3, 6, 1, 4, 1, 311, 2, 1, 22): 12,
    (1, 3, 6, 1, 4, 1, 311, 61, 1, 1): 13,
}
_ACCESS: dict[tuple[int, ...], str] = {
    (1, 3, 6, 1, 5, 5, 7, 48, 1): "OCSPServer",
    (1, 3, 6, 1, 5, 5, 7, 48, 2): "IssuingCertificateURL",
}


def of_certificate(written: list[der.Element]) -> _Fields:
    """The fields of a certificate that its extensions fill, all of them named.

    Raises:
        Malformed: An extension that is known is not of its type.
    """
    fields: _Fields = dict.fromkeys(_LISTS)
    for name in _COUNTS:
        fields |= {name: 0, f"{name}Zero": False}
    fields |= {
        "KeyUsage": 0,
        "BasicConstraintsValid": False,
        "IsCA": False,
        "PermittedDNSDomainsCritical": False,
        "ExtraExtensions": None,
    }
    shown = []
    for extension in written:
        oid, critical, value = _parts(extension)
        shown.append(_shown(oid, critical=critical, value=value))
        fill = _FILL.get(oid)
        if fill is not None:
            fill(fields, der.read(value))
        elif critical:
            _append(fields, "UnhandledCriticalExtensions", list(oid))
        if oid == (2, 5, 29, 30):
            fields["PermittedDNSDomainsCritical"] = critical
    fields["Extensions"] = shown or None
    return fields


def of_request(written: list[der.Element]) -> _Fields:
    """The fields of a certificate request that the extensions it asks for fill.

    Raises:
        Malformed: An extension that is known is not of its type.
    """
    fields: _Fields = dict.fromkeys(_ALTERNATIVE_NAMES) | {"ExtraExtensions": None}
    shown = []
    for extension in written:
        oid, critical, value = _parts(extension)
        shown.append(_shown(oid, critical=critical, value=value))
        if oid == (2, 5, 29, 17):
            _subject_alternative_name(fields, der.read(value))
    fields["Extensions"] = shown or None
    return fields


def base64_of(data: bytes) -> str:
    """Bytes as Go's JSON shows them."""
    return base64.b64encode(data).decode("ascii")


def _parts(extension: der.Element) -> tuple[tuple[int, ...], bool, bytes]:
    kind, *rest = extension.expect(der.SEQUENCE).children()
    critical = len(rest) > 1 and rest[0].expect(der.BOOLEAN).content != b"\0"
    return kind.oid(), critical, rest[-1].expect(der.OCTET_STRING).content


def _shown(oid: tuple[int, ...], *, critical: bool, value: bytes) -> _Fields:
    return {"Id": list(oid), "Critical": critical, "Value": base64_of(value)}


def _append(fields: _Fields, name: str, value: Any) -> None:
    if fields[name] is None:
        fields[name] = []
    fields[name].append(value)


def _count(fields: _Fields, name: str, count: int) -> None:
    fields[name] = count
    fields[f"{name}Zero"] = count == 0


def _key_usage(fields: _Fields, value: der.Element) -> None:
    bits = value.expect(der.BIT_STRING).bits()
    fields["KeyUsage"] = sum(
        1 << number for number in range(9) if number // 8 < len(bits) and bits[number // 8] << number % 8 & 0x80
    )


def _extended_key_usage(fields: _Fields, value: der.Element) -> None:
    for usage in value.expect(der.SEQUENCE).children():
        number = _KEY_USAGES.get(usage.oid())
        if number is None:
            _append(fields, "UnknownExtKeyUsage", list(usage.oid()))
        else:
            _append(fields, "ExtKeyUsage", number)


def _basic_constraints(fields: _Fields, value: der.Element) -> None:
    parts = value.expect(der.SEQUENCE).children()
    fields["BasicConstraintsValid"] = True
    fields["IsCA"] = any(part.tag == der.BOOLEAN and part.content != b"\0" for part in parts)
    _count(fields, "MaxPathLen", next((part.integer() for part in parts if part.tag == der.INTEGER), -1))


def _subject_key(fields: _Fields, value: der.Element) -> None:
    fields["SubjectKeyId"] = base64_of(value.expect(der.OCTET_STRING).content)


def _authority_key(fields: _Fields, value: der.Element) -> None:
    found = [part.content for part in value.expect(der.SEQUENCE).children() if part.tag == 0x80]
    fields["AuthorityKeyId"] = base64_of(found[0]) if found else None


def _subject_alternative_name(fields: _Fields, value: der.Element) -> None:
    for name in value.expect(der.SEQUENCE).children():
        match name.tag & 0x1F:
            case 1:
                _append(fields, "EmailAddresses", name.content.decode("ascii"))
            case 2:
                _append(fields, "DNSNames", name.content.decode("ascii"))
            case 6:
                _append(fields, "URIs", _url(name.content.decode("ascii")))
            case 7:
                _append(fields, "IPAddresses", str(_address(name.content)))


def _address(data: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if len(data) not in (4, 16):
        raise der.Malformed("an IP address has another length")
    return ipaddress.ip_address(data)


def _url(text: str) -> _Fields:
    """A URL as Go's struct; its user is an empty map, since Go shows none of its fields."""
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        raise der.Malformed("a URI cannot be parsed") from None
    rooted = parts.path.startswith("/") or bool(parts.netloc) or not parts.scheme
    path = urllib.parse.unquote(parts.path) if rooted else ""
    fragment = urllib.parse.unquote(parts.fragment)
    return {
        "Scheme": parts.scheme,
        "Opaque": "" if rooted else parts.path,
        "User": {} if "@" in parts.netloc else None,
        "Host": parts.netloc.rpartition("@")[2],
        "Path": path,
        "Fragment": fragment,
        "RawQuery": parts.query,
        "RawPath": parts.path if rooted and _escaped(path) != parts.path else "",
        "RawFragment": parts.fragment if _escaped(fragment) != parts.fragment else "",
        "ForceQuery": text.endswith("?"),
        "OmitHost": False,
    }


def _escaped(text: str) -> str:
    return urllib.parse.quote(text, safe="/$&+,:;=@-_.~")


def _name_constraints(fields: _Fields, value: der.Element) -> None:
    for side in value.expect(der.SEQUENCE).children():
        prefix = "Permitted" if side.tag == 0xA0 else "Excluded"
        for subtree in side.children():
            base = subtree.expect(der.SEQUENCE).children()[0]
            match base.tag & 0x1F:
                case 1:
                    _append(fields, f"{prefix}EmailAddresses", base.content.decode("ascii"))
                case 2:
                    _append(fields, f"{prefix}DNSDomains", base.content.decode("ascii"))
                case 6:
                    _append(fields, f"{prefix}URIDomains", base.content.decode("ascii"))
                case 7:
                    half = len(base.content) // 2
                    network = {"IP": str(_address(base.content[:half])), "Mask": base64_of(base.content[half:])}
                    _append(fields, f"{prefix}IPRanges", network)


def _distribution_points(fields: _Fields, value: der.Element) -> None:
    for point in value.expect(der.SEQUENCE).children():
        for part in point.children():
            if part.tag != 0xA0 or part.inner().tag != 0xA0:
                continue
            for name in part.inner().children():
                if name.tag == 0x86:
                    _append(fields, "CRLDistributionPoints", name.content.decode("ascii"))


def _authority_information(fields: _Fields, value: der.Element) -> None:
    for description in value.expect(der.SEQUENCE).children():
        method, location = description.expect(der.SEQUENCE).children()
        field = _ACCESS.get(method.oid())
        if field is not None and location.tag == 0x86:
            _append(fields, field, location.content.decode("ascii"))


def _policies(fields: _Fields, value: der.Element) -> None:
    for policy in value.expect(der.SEQUENCE).children():
        oid = policy.expect(der.SEQUENCE).children()[0].oid()
        _append(fields, "PolicyIdentifiers", list(oid))
        _append(fields, "Policies", ".".join(map(str, oid)))


def _policy_mappings(fields: _Fields, value: der.Element) -> None:
    for mapping in value.expect(der.SEQUENCE).children():
        issuer, subject = (".".join(map(str, one.oid())) for one in mapping.children())
        _append(fields, "PolicyMappings", {"IssuerDomainPolicy": issuer, "SubjectDomainPolicy": subject})


def _policy_constraints(fields: _Fields, value: der.Element) -> None:
    for part in value.expect(der.SEQUENCE).children():
        _count(fields, "RequireExplicitPolicy" if part.tag == 0x80 else "InhibitPolicyMapping", part.integer())


def _inhibit_any_policy(fields: _Fields, value: der.Element) -> None:
    _count(fields, "InhibitAnyPolicy", value.expect(der.INTEGER).integer())


_FILL: dict[tuple[int, ...], Callable[[_Fields, der.Element], None]] = {
    (2, 5, 29, 14): _subject_key,
    (2, 5, 29, 15): _key_usage,
    (2, 5, 29, 17): _subject_alternative_name,
    (2, 5, 29, 19): _basic_constraints,
    (2, 5, 29, 30): _name_constraints,
    (2, 5, 29, 31): _distribution_points,
    (2, 5, 29, 32): _policies,
    (2, 5, 29, 33): _policy_mappings,
    (2, 5, 29, 35): _authority_key,
    (2, 5, 29, 36): _policy_constraints,
    (2, 5, 29, 37): _extended_key_usage,
    (2, 5, 29, 54): _inhibit_any_policy,
    (1, 3, 6, 1, 5, 5, 7, 1, 1): _authority_information,
}
