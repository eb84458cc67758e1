"""Which addresses policies may not call: those that mean something else, or more, to the operator than to the policy.

Loopback is the operator's own Pod, link-local addresses are its node and the cloud's metadata service, and both answer
whoever reaches them. IPv6 has several spellings of an IPv4 address; what they carry is looked at, too (mapped and
compatible: RFC 4291, 2.5.5; NAT64: RFC 6052 and RFC 8215; 6to4: RFC 3056; Teredo: RFC 4380; ISATAP: RFC 5214).
Private addresses are not refused: services of a cluster have no others.
"""

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA: frozenset[Address] = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's host
        "192.0.0.192",  # Oracle Cloud
        "fd00:ec2::254",  # EC2
        "fd20:ce::254",  # Google Compute Engine
    )
)
"""Those of the clouds that are not link-local."""

_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")
_COMPATIBLE = ipaddress.ip_network("::/96")
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_ISATAP = (0x00005EFE, 0x02005EFE)


def parse(host: str) -> Address | None:
    """The address that a URL's host is, or None where it is a name. A zone (`%eth0`) is left out."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def forbidden(address: Address) -> str | None:
    """What kind of address that policies may not call this is, in a word or two, or None where they may."""
    for each in _meanings(address):
        kind = _kind(each)
        if kind is not None:
            return kind
    return None


def _kind(address: Address) -> str | None:
    if address in _METADATA:
        return "metadata"
    if address.is_unspecified or (address.version == 4 and address in _THIS_NETWORK):
        return "unspecified"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local or (address.version == 6 and address in _SITE_LOCAL):
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.version == 4 and address.is_reserved:  # in IPv6 that is every address not yet handed out, NAT64 too
        return "reserved"
    return None


def _meanings(address: Address) -> Iterator[Address]:
    """The address, and the IPv4 addresses that it may stand for."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address in _COMPATIBLE or any(address in network for network in _NAT64):
        yield low
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        yield low
