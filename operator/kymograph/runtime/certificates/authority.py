"""What the operator's own authority is called, how long what it issues is valid, and for whom it is."""

import datetime as dt
import ipaddress
from collections.abc import Sequence

from cryptography import x509

from kymograph.keypairs import issuing
from kymograph.keypairs.issuing import KeyPair
from kymograph.runtime.certificates import pem

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
    return issuing.found(f"kymograph-ca@{int(now.timestamp())}", now, lifetime).pair


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
    return _read(ca).serving("kymograph", names, now, lifetime)


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
    return _read(ca).client(common_name, organizations, now, lifetime)


def _read(ca: KeyPair) -> issuing.Authority:
    return issuing.Authority(pem.certificates(ca.certificate)[0], pem.private_key(ca.key))
