"""Kyverno's `is_external_url`. Names are resolved by whoever evaluates: the engine opens no connection."""

import re

from kymograph.engine import errors, needs
from kymograph.engine.budget import Budget
from kymograph.engine.jmespath.functions import BOOLEAN, STRING, register

_LONGEST = 2048
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?", re.ASCII)
_PORT = re.compile(r"(?::[0-9]*)?", re.ASCII)
_NO_HOST = re.compile(r"[ \"<>\\^`{|}]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})[^/?#]{0,2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@register(
    "is_external_url", STRING, returns=BOOLEAN, note="whether the host of a URL has no private or loopback address"
)
def _is_external_url(budget: Budget, url: str) -> bool:
    budget.spend(1 + len(url) // 16)
    host = _host(url)
    own = _is_internal(host)
    if own is not None:
        return not own
    addresses = budget.ask(needs.HostAddresses(host)) if host else ()
    if not addresses:
        raise errors.EvaluationError(f"lookup {host}: no such host")
    return not any(map(_is_internal, addresses))


def _host(url: str) -> str:
    if len(url) > _LONGEST:
        raise errors.EvaluationError(f"the URL is longer than {_LONGEST} characters")
    if _CONTROL.search(url):
        raise _refusal(url, "net/url: invalid control character in URL")
    if url.startswith(":"):
        raise _refusal(url, "missing protocol scheme")
    parts = _URL.match(url)
    scheme, authority = (parts[1], parts[2]) if parts is not None else (None, None)
    first = url.partition("/")[0].partition("?")[0].partition("#")[0]
    if scheme is None and authority is None and ":" in first:
        raise _refusal(url, "first path segment in URL cannot contain colon")
    host = (authority or "").rpartition("@")[2]
    if host.startswith("["):
        name, bracket, port = host[1:].rpartition("]")
        if not bracket:
            raise _refusal(url, "missing ']' in host")
        host = name.partition("%25")[0]
    else:
        host, colon, digits = host.partition(":")
        port = colon + digits
    if _PORT.fullmatch(port) is None:
        raise _refusal(url, f'invalid port "{port}" after host')
    if (strange := _NO_HOST.search(host)) is not None:
        raise _refusal(url, f'invalid character "{strange[0]}" in host name')
    if (escape := _BAD_ESCAPE.search(host) or _BAD_ESCAPE.search(url.partition("?")[0])) is not None:
        raise _refusal(url, f'invalid URL escape "{escape[0]}"')
    return host


def _refusal(url: str, reason: str) -> errors.EvaluationError:
    shown = "".join(one if one >= " " and one != "\x7f" else f"\\x{ord(one):02x}" for one in url)
    return errors.EvaluationError(f'parse "{shown}": {reason}')


def _is_internal(address: str) -> bool | None:
    """Whether an address is loopback or private (RFC 1918, RFC 4193); None for what is no address."""
    import ipaddress  # noqa: PLC0415 - few policies look at addresses

    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return found.is_loopback or found in ipaddress.IPv6Network("fc00::/7")
        found = found.ipv4_mapped
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    return found.is_loopback or any(found in ipaddress.IPv4Network(network) for network in private)
