"""Renews a bundle so that whoever trusts the old one is never cut off.

A new authority is first only *trusted*: it stands in `ca.crt` before the old one, and the old one's last act is a fresh
serving certificate. Months later that is due, and the new authority signs: every verifier has long read the new
`ca.crt`. An authority leaves `ca.crt` when it ends, or a day after the last certificate it issued was replaced.

Where the old authority cannot sign any more, or somebody wants a new one now, the new one signs at once. Then it is for
whoever serves to wait until the new `ca.crt` is trusted (`keeper`).
"""

import dataclasses
import datetime as dt
from collections.abc import Callable

from cryptography import x509

from kymograph.keypairs.issuing import KeyPair
from kymograph.runtime.certificates import authority, errors, inspection, pem
from kymograph.runtime.certificates.bundle import Bundle, Names


def renew(bundle: Bundle | None, names: Names, now: dt.datetime, trusted: bytes = b"") -> Bundle:
    """The bundle to use from now on: the given one, the very same, unless something in it needs a renewal.

    Args:
        bundle: What is there; None makes everything anew.
        names: Whom the serving certificate has to be for.
        now: The time, with a time zone.
        trusted: Authorities (PEM) that stay trusted beside a new one, where the bundle does not say: those of the
            certificates that are served at the moment.

    Raises:
        ValueError: There are no names, or an address is none.
    """
    if bundle is None:
        return _with_serving(_anew(now, trusted), names, now)
    reason = inspection.inspect(bundle, names, now).reason
    if reason is None:
        return bundle
    if reason is inspection.Reason.AUTHORITY_EXPIRES_SOON:
        return _with_authority(_with_serving(bundle, names, now), now)
    if reason is inspection.Reason.AUTHORITY_RETIRED:
        return _without_retired(bundle)
    if reason is inspection.Reason.NAMES:  # a replica with other names may have it made: both find theirs
        return _with_serving(bundle, _joined(names, bundle.serving), now)
    if reason.concerns_authority:
        bundle = _with_authority(bundle, now, trusted)
    return _with_serving(bundle, names, now)


def rotate(bundle: Bundle, names: Names, now: dt.datetime, *, authority_too: bool) -> Bundle:
    """A new serving certificate although the old one would do, of a new authority if that is wanted."""
    return _with_serving(_with_authority(bundle, now) if authority_too else bundle, names, now)


def join(*contents: bytes) -> bytes:
    """The certificates (PEM) of several contents, each once, in the order in which they come first; broken ones not."""
    return _chosen(b"\n".join(filter(None, map(_readable, contents))), lambda _: True)


def _anew(now: dt.datetime, trusted: bytes = b"") -> Bundle:
    ca = authority.issue_ca(now)
    return Bundle(ca.certificate + _unexpired(trusted, now), ca.key, KeyPair(b"", b""))


def _with_authority(bundle: Bundle, now: dt.datetime, trusted: bytes = b"") -> Bundle:
    fresh = _anew(now)
    old = _unexpired(join(bundle.authorities, trusted), now)
    return Bundle(fresh.authorities + old, fresh.authority_key, bundle.serving)


def _without_retired(bundle: Bundle) -> Bundle:
    serving, first = pem.certificates(bundle.serving.certificate)[0], pem.certificates(bundle.authorities)[0]
    kept = _chosen(bundle.authorities, lambda one: one == first or inspection.is_issued_by(serving, one))
    return dataclasses.replace(bundle, authorities=kept)


def _joined(names: Names, serving: KeyPair) -> Names:
    certificate = pem.certificates(serving.certificate)[0]
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    dns = dict.fromkeys((*names.dns, *found.get_values_for_type(x509.DNSName)))
    ips = dict.fromkeys((*names.ips, *map(str, found.get_values_for_type(x509.IPAddress))))
    return Names(tuple(dns), tuple(ips))


def _with_serving(bundle: Bundle, names: Names, now: dt.datetime) -> Bundle:
    ca = KeyPair(bundle.authorities, bundle.authority_key)
    serving = authority.issue_serving(ca, names.dns, names.ips, now)
    return Bundle(_unexpired(bundle.authorities, now), bundle.authority_key, serving)


def _unexpired(content: bytes, now: dt.datetime) -> bytes:
    return _chosen(_readable(content), lambda one: now < one.not_valid_after_utc)


def _readable(content: bytes) -> bytes:
    try:
        pem.certificates(content)
    except errors.Unparsable:
        return b""
    return content


def _chosen(content: bytes, wanted: Callable[[x509.Certificate], bool]) -> bytes:
    found = dict.fromkeys(pem.certificates(content)) if content else ()
    return b"".join(pem.encoded(one) for one in found if wanted(one))
