"""One HTTP exchange with a host that a policy names: guarded, bounded, following nothing.

No redirect is followed, no cookie kept, no proxy asked, no content decoded: a body that was compressed is refused,
since its size says nothing about its content. What a connection is reused for is the host it was opened to.
"""

import contextlib
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import aiohttp
import multidict
import yarl
from aiohttp import abc

from kymograph.clients.http import errors, guard

CONNECT_TIMEOUT = 10.0
"""Seconds until a connection must stand. All else is bounded by the deadline of the request under review."""

CONNECTIONS = 64
CONNECTIONS_PER_HOST = 16
"""Connections at once: slow services hold no more memory than that many answers, and one of them not all."""

_FROM_US = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "trailer", "connection", "te", "upgrade", "expect"),
        *("keep-alive", "proxy-authorization", "proxy-connection", "accept-encoding", "content-encoding", "range"),
    )
)
"""Header fields that say how the message is sent, which is not a policy's business."""

_HEADERS = {"User-Agent": "kymograph", "Accept-Encoding": "identity"}


class Answer(NamedTuple):
    """What a host answered.

    Attributes:
        status: The HTTP status code.
        reason: Its phrase, as it was sent.
        headers: The header fields; names in any case.
        body: The whole body.
    """

    status: int
    reason: str
    headers: multidict.CIMultiDictProxy[str]
    body: bytes


class Transport:
    """Sends requests.

    Args:
        trusted: Hosts whose addresses are not looked at.
        resolver: Asks the DNS; aiohttp's own by default.
    """

    def __init__(self, trusted: guard.Trusted, resolver: abc.AbstractResolver | None = None) -> None:
        self.trusted = trusted
        self._tls: ssl.SSLContext | None = None
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS,
            limit_per_host=CONNECTIONS_PER_HOST,
            resolver=guard.Resolver(resolver or aiohttp.ThreadedResolver(), trusted),
            use_dns_cache=False,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def send(
        self,
        method: str,
        url: yarl.URL,
        *,
        limit: int,
        headers: Mapping[str, str],
        body: bytes | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        """Make one request and read its answer. Cancelling it is how it is bounded in time.

        Args:
            method: The HTTP method.
            url: Where; a fragment is not sent.
            limit: The most bytes that the answer's body may have.
            headers: Header fields of the request; those that say how it is sent are left out.
            body: The content, or None for none.
            tls: Whom to trust, where not the authorities of the system.

        Raises:
            CallError: As its subclasses say; an error status is none.
        """
        guard.require_plain(url)
        guard.check(url.host or "", self.trusted)
        with _translated(url):
            async with self._session.request(
                method,
                url,
                headers={name: value for name, value in headers.items() if name.lower() not in _FROM_US},
                data=body,
                ssl=tls or self._system() if url.scheme == "https" else True,
                allow_redirects=False,
            ) as response:
                return Answer(response.status, response.reason or "", response.headers, await _body(response, limit))

    def _system(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise errors.AnswerInvalid(f"the answer is encoded ({encoding[:40]}), which was not asked for")
    if (response.content_length or 0) > limit and response.method != "HEAD":
        raise errors.AnswerInvalid(too_long(limit))
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise errors.AnswerInvalid(too_long(limit))
        parts.append(part)
    return b"".join(parts)


def too_long(limit: int) -> str:
    """What is said of an answer that is larger than it may be, in Kyverno's words."""
    return f"response length must be less than max allowed response length of {limit}"


@contextlib.contextmanager
def _translated(url: yarl.URL) -> Iterator[None]:
    try:
        yield
    except aiohttp.InvalidURL as error:
        raise errors.CallInvalid(f"the URL cannot be called: {error}") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise errors.Unreachable(f"the certificate of {url.host} is not valid: {error.certificate_error}") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise errors.Unreachable(f"{url.host} does not resolve") from error
    except aiohttp.ClientConnectorSSLError as error:
        raise errors.Unreachable(f"no TLS with {url.host}:{url.port}: {error.os_error}") from error
    except aiohttp.ClientConnectorError as error:  # its own text says which address it was
        reason = os.strerror(error.errno) if error.errno else "it cannot be connected"
        raise errors.Unreachable(f"no connection to {url.host}:{url.port}: {reason}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.Unreachable(f"no answer from {url.host}:{url.port}: {type(error).__name__}: {error}") from error
