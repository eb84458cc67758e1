"""Which addresses policies may not call, in every spelling."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.clients.http import addresses


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),  # noqa: S104 - an address to refuse, nothing is bound
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("169.254.169.254", "link-local"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("240.0.0.1", "reserved"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.192", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::127.0.0.1", "loopback"),
        ("::169.254.169.254", "link-local"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b:1::169.254.169.254", "link-local"),
        ("2002:a9fe:a9fe::", "link-local"),
        ("2002:7f00:1::1", "loopback"),
        ("2001:0:7f00:1::", "loopback"),  # Teredo by its server
        ("2001:0:102:304:0:0:80ff:fffe", "loopback"),  # and by its client, whose bits are turned over
        ("fd00::5efe:169.254.169.254", "link-local"),
        ("fd00::200:5efe:127.0.0.1", "loopback"),
        ("10.0.0.1", None),
        ("172.16.0.1", None),
        ("192.168.1.1", None),
        ("fd00::1", None),
        ("8.8.8.8", None),
        ("2606:4700::1111", None),
        ("64:ff9b::8.8.8.8", None),
        ("100.64.0.1", None),
    ],
)
def test_addresses_that_mean_the_operator_or_its_node_are_forbidden(text, kind) -> None:
    """Private ones are not: services of a cluster have no others."""
    address = addresses.parse(text)
    assert address is not None
    assert addresses.forbidden(address) == kind


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_judged_like_the_plain_one(address) -> None:
    """Whatever IPv6 wraps around it."""
    plain = addresses.forbidden(address)
    number = int(address)
    wrapped = [0xFFFF << 32 | number, 0x0064FF9B << 96 | number, 0x2002 << 112 | number << 80]
    for each in wrapped:
        judged = addresses.forbidden(ipaddress.IPv6Address(each))
        assert (judged is None) == (plain is None)


@pytest.mark.parametrize("text", ["example.org", "127.1", "2130706433", "0x7f.1", "", "1.2.3.4.5"])
def test_names_are_no_addresses(text) -> None:
    """Nor are the short forms that only the C library knows."""
    assert addresses.parse(text) is None
