"""Lets no call of a policy out to an address that policies may not call.

A name is resolved once, every address of the answer is looked at, and the connection goes to these very addresses: who
answers differently the second time is not asked a second time. An answer that mixes permitted and forbidden addresses
is refused as a whole. Errors do not say which address a name resolves to: they are shown to whoever made the request
under review, and would tell what the cluster's DNS knows.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable

import yarl
from aiohttp import abc

from kymograph.apimachinery import wildcard
from kymograph.clients.http import addresses, errors

_NUMERIC = re.compile(r"[0-9.]+")
_SERVICE = re.compile(r"[a-z0-9-]+\.[a-z0-9-]+\.svc(\.cluster\.local)?\.?")
"""How the cluster's DNS calls Services. Another domain than the usual one could be anybody's: it has to be trusted."""


class Trusted:
    """Hosts that may be called whatever their addresses are, and are told the trace context.

    Args:
        entries: Host names, perhaps with wildcards (`*.example`), addresses and networks (`10.1.0.0/16`).

    Raises:
        ValueError: An entry is none of these.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._names: list[str] = []
        self._networks: list[addresses.Network] = []
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry))
            except ValueError:
                if not re.fullmatch(r"[A-Za-z0-9.*?_-]+", entry):
                    raise ValueError(f"{entry!r} is neither a host, an address nor a network") from None
                self._names.append(entry.lower().rstrip("."))

    def names(self, host: str) -> bool:
        """Whether a host is trusted by its name."""
        written = host.lower().rstrip(".")
        return any(wildcard.match(name, written) for name in self._names)

    def holds(self, address: addresses.Address) -> bool:
        """Whether an address is trusted."""
        return any(address in network for network in self._networks)

    def told(self, host: str) -> bool:
        """Whether a host is told the trace context: one of the cluster's Services, or a trusted one."""
        address = addresses.parse(host)
        if address is not None:
            return self.holds(address)
        return bool(_SERVICE.fullmatch(host.lower())) or self.names(host)


def require_plain(url: yarl.URL) -> None:
    """Look at the shape of a URL.

    Raises:
        CallInvalid: It is no http or https URL with a host, or carries a user and password.
    """
    if url.scheme not in ("http", "https") or not url.host:
        raise errors.CallInvalid("the URL must be http:// or https:// with a host")
    if url.user is not None or url.password is not None:
        raise errors.CallInvalid("the URL must not carry a user or password; a header can")


def check(host: str, trusted: Trusted) -> None:
    """Look at what can be said of the host of a URL before it is resolved.

    Raises:
        AddressRefused: It is an address that policies may not call.
    """
    if trusted.names(host):
        return
    address = addresses.parse(host)
    if address is not None:
        _permit(address, host, trusted)
    elif _NUMERIC.fullmatch(host):  # `2130706433`, `127.1`: an address to the C library, a name to others
        raise errors.AddressRefused(f"connection to {host} refused: it is no address as addresses are written")


class Resolver(abc.AbstractResolver):
    """Resolves names, and gives addresses only where all of them may be called.

    Args:
        resolver: Asks the DNS.
        trusted: Whose addresses are not looked at.
    """

    def __init__(self, resolver: abc.AbstractResolver, trusted: Trusted) -> None:
        self._resolver = resolver
        self._trusted = trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[abc.ResolveResult]:
        """The addresses of a host.

        Raises:
            AddressRefused: One of them may not be called.
            OSError: It has none.
        """
        found = await self._resolver.resolve(host, port, family)
        if not self._trusted.names(host):
            for each in found:
                address = addresses.parse(each["host"])
                if address is None:
                    raise OSError(f"{host} resolves to what is no address")
                _permit(address, host, self._trusted)
        return found

    async def close(self) -> None:
        """Close the resolver that asks."""
        await self._resolver.close()


async def addresses_of(host: str) -> tuple[str, ...]:
    """The addresses that a host name resolves to, sorted; empty if it resolves to none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(sorted({str(each[4][0]) for each in found}))


def _permit(address: addresses.Address, host: str, trusted: Trusted) -> None:
    kind = addresses.forbidden(address)
    if kind is not None and not trusted.holds(address):
        article = "an" if kind == "unspecified" else "a"
        raise errors.AddressRefused(f"connection to {host} refused: policies may not call {article} {kind} address")
