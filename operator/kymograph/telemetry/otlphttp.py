"""OTLP over HTTP/1.1, as protobuf, on one kept-alive connection.

The standard library's client is used. The SDK's HTTP exporter takes certificates only from files, encodes with the
slow encoder and tells why it failed only in its log; `requests` takes certificates only from files, too, and follows
redirects, headers and all. Here a redirect is a refusal: what is in a header goes to the endpoint and nowhere else.
"""

import contextlib
import email.utils
import gzip
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator

from google.rpc import status_pb2  # type: ignore[import-untyped] # generated, and ships no types

from kymograph.telemetry import delivery, destination, trust

_PASSING = frozenset({429, 502, 503, 504})

_MOST_ANSWER = 64 * 1024
"""Bytes of an answer that are read; an export response has a few dozen."""

_MOST_REASON = 512

_LEVEL = 1
"""How hard requests are compressed. Of spans a sixth more bytes than the usual level leaves, for half of its time."""

_PROTOBUF = "application/x-protobuf"


class HTTPTransport:
    """A connection to one receiver.

    Args:
        to: Where to.
    """

    def __init__(self, to: destination.Destination) -> None:
        self._to = to
        self._context = None if to.plaintext else trust.context(to.ca, to.certificate, to.key)
        self._headers = {"Content-Type": _PROTOBUF, "User-Agent": "kymograph", **dict(to.headers)}
        if to.gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False
        self._busy = threading.Lock()

    def attempt(self, request: bytes, timeout: float) -> bytes:
        """Send an encoded request; see `delivery.Transport`."""
        try:
            with self._busy:
                return self._attempt(request, timeout)
        finally:
            if self._closed:
                self._drop()

    def close(self) -> None:
        """Interrupt the request under way and let go of the connection."""
        self._closed = True
        self._interrupt()
        if self._busy.acquire(blocking=False):  # else whoever is busy with it lets go of it
            self._drop()
            self._busy.release()

    def _attempt(self, request: bytes, timeout: float) -> bytes:
        body = gzip.compress(request, _LEVEL) if self._to.gzip else request
        reused = self._connection is not None
        began = time.monotonic()
        try:
            return self._post(body, timeout)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            if not reused or self._closed:
                raise self._unreachable(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        try:  # the receiver had closed a connection that was idle: that says nothing about it
            return self._post(body, max(timeout - (time.monotonic() - began), 0.001))
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _post(self, body: bytes, timeout: float) -> bytes:
        connection = self._connection
        if connection is None:
            connection = self._connection = _Connection(self._to, self._context, timeout)
        try:
            with self._deadline(timeout):
                if connection.sock is None:
                    connection.connect()
                self._check_open()  # `close` may have come before there was a socket to interrupt
                connection.sock.settimeout(timeout)
                connection.request("POST", self._to.path, body, self._headers)
                response = connection.getresponse()
                answer = response.read(_MOST_ANSWER)
                self._check_open()  # an answer that `close` cut off can look complete, and its spans would be lost
        except BaseException:
            self._drop()
            raise
        if response.will_close or not response.isclosed():
            self._drop()
        if response.status == 200:
            return answer
        raise delivery.Refused(
            f"HTTP {response.status}: {_reason(response, answer)}",
            passing=response.status in _PASSING,
            wait=_wait_of(response.getheader("Retry-After"), time.time()),
            code=str(response.status),
        )

    def _check_open(self) -> None:
        if self._closed:
            raise delivery.Refused("the connection was closed", passing=False)

    def _unreachable(self, error: Exception) -> delivery.Refused:
        what = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return delivery.Refused(f"{self._to.endpoint}: {what}", passing=True)

    @contextlib.contextmanager
    def _deadline(self, timeout: float) -> Iterator[None]:
        """Interrupt what takes longer: a socket's own timeout begins anew with every byte that drips in."""
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self._interrupt()

        watch = threading.Timer(timeout, expire)
        watch.daemon = True
        watch.start()
        try:
            yield
            if expired:  # an answer that ends early can look complete
                raise TimeoutError
        except (OSError, http.client.HTTPException) as error:
            if expired:
                raise TimeoutError from error
            raise
        finally:
            watch.cancel()

    def _interrupt(self) -> None:
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # TLS has no say in it: nobody waits for its goodbye

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection in plaintext or TLS, to one name and presenting another where the certificate says so."""

    def __init__(self, to: destination.Destination, context: ssl.SSLContext | None, timeout: float) -> None:
        super().__init__(to.host, to.port, timeout=timeout)
        self._tls = context
        self._server_name = to.server_name or to.host

    def connect(self) -> None:
        super().connect()
        if self._tls is not None:
            secured = self._tls.wrap_socket(self.sock, server_hostname=self._server_name, do_handshake_on_connect=False)
            self.sock = secured  # first, so that the handshake can be interrupted
            secured.do_handshake()


def _reason(response: http.client.HTTPResponse, answer: bytes) -> str:
    """What the receiver says went wrong: a google.rpc.Status, or text, or at least the status line."""
    if response.getheader("Content-Type", "").startswith(_PROTOBUF):
        with contextlib.suppress(Exception):  # whatever stands there was written by somebody else
            return str(status_pb2.Status.FromString(answer).message)[:_MOST_REASON] or response.reason
    text = "".join(each if each.isprintable() else " " for each in answer.decode("utf-8", "replace")).strip()
    return text[:_MOST_REASON] or response.reason


def _wait_of(retry_after: str | None, now: float) -> float | None:
    """Seconds to wait by a `Retry-After` header: a number of them, or a date."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - now)
    return None
