"""Says whether a bundle can be served with, and if not, why."""

import dataclasses
import datetime as dt
import enum
import ipaddress

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from kymograph.keypairs import issuing
from kymograph.runtime.certificates import authority, errors, pem
from kymograph.runtime.certificates.bundle import Bundle, Names

RENEW_AUTHORITY_BEFORE = 2 * authority.LIFETIME
"""How long before its end an authority is replaced. Longer than a serving certificate lives, so each of them is signed
by an authority that its verifiers have known for months."""
OVERLAP = dt.timedelta(days=1)
"""How long an authority stays trusted after the last certificate it issued was replaced: longer than any API server
takes to read a webhook configuration and any replica to read the Secret."""
RENEW_BEFORE = authority.LIFETIME / 6
"""How long before its end a serving certificate is replaced: two months."""


class Reason(enum.StrEnum):
    """Why a bundle needs a renewal."""

    AUTHORITY_UNPARSABLE = "authority-unparsable"
    AUTHORITY_KEY = "authority-key"
    AUTHORITY_NOT_YET_VALID = "authority-not-yet-valid"
    AUTHORITY_EXPIRED = "authority-expired"
    AUTHORITY_EXPIRES_SOON = "authority-expires-soon"
    UNPARSABLE = "unparsable"
    WRONG_AUTHORITY = "wrong-authority"
    KEY = "key"
    PURPOSE = "purpose"
    NOT_YET_VALID = "not-yet-valid"
    EXPIRED = "expired"
    EXPIRES_SOON = "expires-soon"
    NAMES = "names"
    AUTHORITY_RETIRED = "authority-retired"

    @property
    def concerns_authority(self) -> bool:
        """Whether a new serving certificate of the same authority would not help."""
        return self in {
            Reason.AUTHORITY_UNPARSABLE,
            Reason.AUTHORITY_KEY,
            Reason.AUTHORITY_NOT_YET_VALID,
            Reason.AUTHORITY_EXPIRED,
            Reason.AUTHORITY_EXPIRES_SOON,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What an inspection found.

    Attributes:
        reason: Why the bundle needs a renewal; None when it does not.
        detail: The same for people: what was found, without key material.
    """

    reason: Reason | None = None
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether the bundle can stay as it is."""
        return self.reason is None


def inspect(bundle: Bundle, names: Names, now: dt.datetime) -> Verdict:
    """Inspects a bundle; the gravest finding is the verdict.

    Args:
        bundle: Authority and serving certificate.
        names: Whom the certificate has to be for; more names on it do no harm.
        now: The time, with a time zone.
    """
    try:
        authorities = pem.certificates(bundle.authorities)
        verdict = _authority(authorities[0], pem.private_key(bundle.authority_key), now)
    except _BROKEN as error:
        return Verdict(Reason.AUTHORITY_UNPARSABLE, str(error))
    if verdict is not None:
        return verdict
    try:
        serving = pem.certificates(bundle.serving.certificate)[0]
        key = pem.private_key(bundle.serving.key)
        return _serving(serving, key, authorities, names, now) or _retired(serving, authorities, now) or _OK
    except _BROKEN as error:
        return Verdict(Reason.UNPARSABLE, str(error))


def _authority(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> Verdict | None:
    if certificate.public_key() != key.public_key():
        return Verdict(Reason.AUTHORITY_KEY, "ca.key does not belong to the first certificate of ca.crt")
    if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        return Verdict(Reason.AUTHORITY_KEY, "the first certificate of ca.crt is no authority")
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        return Verdict(Reason.AUTHORITY_NOT_YET_VALID, f"the authority begins {begin.isoformat()}")
    if end <= now:
        return Verdict(Reason.AUTHORITY_EXPIRED, f"the authority ended {end.isoformat()}")
    if end - now <= RENEW_AUTHORITY_BEFORE:
        return Verdict(Reason.AUTHORITY_EXPIRES_SOON, f"the authority ends {end.isoformat()}")
    return None


def _serving(
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    authorities: list[x509.Certificate],
    names: Names,
    now: dt.datetime,
) -> Verdict | None:
    if certificate.public_key() != key.public_key():
        return Verdict(Reason.KEY, "tls.key does not belong to tls.crt")
    if not any(is_issued_by(certificate, one) for one in authorities if now < one.not_valid_after_utc):
        return Verdict(Reason.WRONG_AUTHORITY, "no authority of ca.crt issued tls.crt")
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        return Verdict(Reason.PURPOSE, "tls.crt is not for servers")
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        return Verdict(Reason.NOT_YET_VALID, f"tls.crt begins {begin.isoformat()}")
    if end <= now:
        return Verdict(Reason.EXPIRED, f"tls.crt ended {end.isoformat()}")
    if end - now <= RENEW_BEFORE:
        return Verdict(Reason.EXPIRES_SOON, f"tls.crt ends {end.isoformat()}")
    missing = _missing(certificate, names)
    if missing:
        return Verdict(Reason.NAMES, f"tls.crt is not for {', '.join(missing)}")
    return None


def _retired(serving: x509.Certificate, authorities: list[x509.Certificate], now: dt.datetime) -> Verdict | None:
    """Whether authorities are trusted that have long issued nothing in use. The first, the next to sign, may wait."""
    issued = serving.not_valid_before_utc + issuing.CLOCK_SKEW
    retired = [one for one in authorities[1:] if not is_issued_by(serving, one)]
    if retired and issued + OVERLAP <= now:
        return Verdict(Reason.AUTHORITY_RETIRED, f"{len(retired)} old authorities are still trusted")
    return None


def is_issued_by(certificate: x509.Certificate, authority_: x509.Certificate) -> bool:
    """Whether an authority signed a certificate."""
    try:
        certificate.verify_directly_issued_by(authority_)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _missing(certificate: x509.Certificate, names: Names) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [*names.dns, *names.ips]
    hosts = set(found.get_values_for_type(x509.DNSName))
    addresses = set(found.get_values_for_type(x509.IPAddress))
    return [name for name in names.dns if name not in hosts] + [
        ip for ip in names.ips if ipaddress.ip_address(ip) not in addresses
    ]


_OK = Verdict()
_BROKEN = (errors.Unparsable, x509.ExtensionNotFound, x509.DuplicateExtension, ValueError)
