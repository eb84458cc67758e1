"""Renews a bundle so that whoever trusts the old one is never cut off.

A new authority is first only *trusted*: it stands in `ca.crt` before the old one, and the old one's last act is a fresh
serving certificate. Months later that is due, and the new authority signs: every verifier has long read the new
`ca.crt`. An authority leaves `ca.crt` when it ends.
"""

import datetime as dt

from cryptography.hazmat.primitives import serialization

from kymograph.runtime.certificates import authority, errors, inspection, pem
from kymograph.runtime.certificates.bundle import Bundle, KeyPair, Names


def renew(bundle: Bundle | None, names: Names, now: dt.datetime) -> Bundle:
    """The bundle to use from now on: the given one, the very same, unless something in it needs a renewal.

    Args:
        bundle: What is there; None makes everything anew.
        names: Whom the serving certificate has to be for.
        now: The time, with a time zone.

    Raises:
        ValueError: There are no names, or an address is none.
    """
    if bundle is None:
        return _with_serving(_anew(now), names, now)
    reason = inspection.inspect(bundle, names, now).reason
    if reason is None:
        return bundle
    if reason is inspection.Reason.AUTHORITY_EXPIRES_SOON:
        return _with_authority(_with_serving(bundle, names, now), now)
    if reason.concerns_authority:
        bundle = _with_authority(bundle, now)
    return _with_serving(bundle, names, now)


def _anew(now: dt.datetime) -> Bundle:
    ca = authority.issue_ca(now)
    return Bundle(ca.certificate, ca.key, KeyPair(b"", b""))


def _with_authority(bundle: Bundle, now: dt.datetime) -> Bundle:
    fresh = _anew(now)
    return Bundle(fresh.authorities + _unexpired(bundle.authorities, now), fresh.authority_key, bundle.serving)


def _with_serving(bundle: Bundle, names: Names, now: dt.datetime) -> Bundle:
    ca = KeyPair(bundle.authorities, bundle.authority_key)
    serving = authority.issue_serving(ca, names.dns, names.ips, now)
    return Bundle(_unexpired(bundle.authorities, now), bundle.authority_key, serving)


def _unexpired(content: bytes, now: dt.datetime) -> bytes:
    try:
        found = pem.certificates(content)
    except errors.Unparsable:
        return b""
    return b"".join(
        certificate.public_bytes(serialization.Encoding.PEM)
        for certificate in found
        if now < certificate.not_valid_after_utc
    )
