"""The reading half of a connection: from bytes to requests, refused as early as their head allows."""

import asyncio
import functools
import socket
from typing import Any, Final

import httptools

from kymograph.controllers.admission.server import messages, refusals, shared, target, turns
from kymograph.telemetry import propagators

_WANTED: Final = (
    frozenset({b"content-type", b"content-length", b"traceparent", b"tracestate", b"connection", b"expect", b"host"})
    | propagators.FIELDS
)


class _Ended(Exception):
    """Leaves the parser: nothing more of this connection is read."""


class Connection(turns.Turns):
    """The server's end of one connection."""

    __slots__ = (
        "_body",
        "_fed",
        "_handler",
        "_head",
        "_headers",
        "_keep",
        "_parser",
        "_refusal",
        "_since",
        "_size",
        "_surplus",
        "_target",
        "_timed",
        "_url",
    )

    _parser: Any
    _target: target.Target

    def __init__(self, common: shared.Shared) -> None:
        super().__init__(common)
        self._surplus = False
        self._begin()

    def _begin(self) -> None:
        """Forgets the request before."""
        self._head = self._fed = self._size = 0
        self._timed = turns.BETWEEN
        self._url = b""
        self._body: bytes | bytearray = b""
        self._headers: dict[bytes, bytes] = {}
        self._handler: messages.Handler | None = None
        self._refusal: refusals.Refusal | None = None
        self._keep = True

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        common = self._shared
        self._transport = transport  # type: ignore[assignment] # a TLS stream: asyncio.Transport, or uvloop's like it
        self._parser = httptools.HttpRequestParser(self)
        common.connections.add(self)
        common.empty.clear()
        self._transport.set_write_buffer_limits(high=self._limits.unsent)
        # asyncio does this only for sockets that name TCP as their protocol, and accepted ones of ours do not.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._surplus = len(common.connections) > self._limits.connections
        if len(common.connections) > 2 * self._limits.connections:
            common.on_refused(refusals.TOO_MANY_CONNECTIONS.reason)
            self._abort()
        else:
            self._expire_in(self._limits.head_timeout if self._surplus else self._limits.idle_timeout)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended makes no difference
        """The client is gone: nobody waits for the request in flight."""
        self._release()
        self._phase = turns.ENDED
        self._closed = True
        self._waiting.clear()
        if self._task is not None:
            self._timer.cancel()
            self._give_up()
        self._parser = None  # the parser holds bound methods of this: a cycle
        del self._transport  # and so does what is behind it: TLS, with 256 KiB for what it reads
        self._shared.connections.discard(self)
        if not self._shared.connections:
            self._shared.empty.set()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it is larger
        """Where the next bytes go."""
        return self._shared.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        if self._phase == turns.ENDED:
            return
        self._now = self._shared.clock()
        try:
            self._parser.feed_data(self._shared.buffer[:nbytes])
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Ended):
                raise
        except httptools.HttpParserError:
            self._end(refusals.MALFORMED)
        else:
            if self._phase != turns.BETWEEN:
                self._await_more(nbytes)

    # The parser's side.

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._begin()
        self._since = self._now
        self._phase = turns.HEAD

    def on_url(self, url: bytes) -> None:
        """The request target, or a piece of it."""
        self._url = self._url + url if self._url else url
        self._head += len(url)
        if self._head > self._limits.head:
            raise self._end(refusals.HEAD_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer field after a chunked body."""
        self._head += len(name) + len(value)
        if self._head > self._limits.head:
            raise self._end(refusals.HEAD_TOO_LARGE)
        name = name.lower()
        if name in _WANTED and self._phase == turns.HEAD:
            headers = self._headers
            headers[name] = headers[name] + b"," + value if name in headers else value

    def on_headers_complete(self) -> None:
        """The head is complete: whatever can be refused before the body is."""
        self._phase = turns.BODY
        headers = self._headers
        # HTTP/1.0 connections always end: their clients ask for more in a header field of their own.
        self._keep = self._parser.should_keep_alive() and (b"connection" not in headers or not self._is_old())
        self._refusal = refusal = self._examine()
        if int(headers.get(b"content-length", 0)) > self._limits.body:
            raise self._end(refusals.BODY_TOO_LARGE)
        if b"expect" in headers and not self._is_old():
            if refusal is not None:
                raise self._end(refusal)
            if headers[b"expect"].lower() != b"100-continue":
                raise self._end(refusals.EXPECTATION)
            self._owes_continue = True
            if not self._is_busy():
                self._proceed()

    def on_body(self, piece: bytes) -> None:
        """A piece of the body; mostly the whole."""
        size = self._size + len(piece)
        if size > self._limits.body:
            raise self._end(refusals.BODY_TOO_LARGE)
        if self._refusal is None:
            self._shared.buffered += len(piece)
            if not self._size:
                self._body = piece
            else:
                if self._body.__class__ is bytes:
                    self._body = bytearray(self._body)
                self._body += piece
        self._size = size

    def on_message_complete(self) -> None:
        """The request is complete: serve it, or let it wait for the ones before."""
        self._release()
        self._phase = turns.BETWEEN
        self._owes_continue = False
        body, self._body = self._body, b""
        if self._refusal is not None:
            self._refuse_in_turn(self._refusal, keep=self._keep)
        elif self._handler is not None:
            headers = self._headers
            get = headers.get
            request = messages.Request(
                self._target.path,
                body,
                self._since + self._target.allowance,
                get(b"content-type"),
                get(b"traceparent"),
                get(b"tracestate"),
                headers,
            )
            if self._is_busy():
                self._wait(functools.partial(self._serve, request, self._handler, keep=self._keep))
            else:
                self._serve(request, self._handler, keep=self._keep)
        if self._closed:
            raise _Ended

    # What is read.

    def _examine(self) -> refusals.Refusal | None:
        """Why this request is refused, as far as its head says."""
        if self._surplus:
            raise self._end(refusals.TOO_MANY_CONNECTIONS)
        method = self._parser.get_method()
        if method != b"POST" and (method == b"HEAD" or self._parser.should_upgrade()):  # HEAD, CONNECT
            raise self._end(refusals.METHOD_HEAD if method == b"HEAD" else refusals.METHOD)
        if self._parser.should_upgrade():
            raise self._end(refusals.UPGRADE)
        if b"host" not in self._headers and not self._is_old():  # RFC 9112, 3.2
            raise self._end(refusals.MALFORMED)
        try:
            self._target = target.parse(self._url)
        except ValueError:
            raise self._end(refusals.MALFORMED) from None
        self._handler = self._shared.routes.get(self._target.path)
        if self._handler is None:
            return refusals.UNKNOWN_PATH
        if method != b"POST":
            return refusals.METHOD
        kind = self._headers.get(b"content-type", b"")
        if kind != b"application/json" and kind.partition(b";")[0].strip().lower() != b"application/json":
            return refusals.CONTENT_TYPE
        return None

    def _is_old(self) -> bool:
        return bool(self._parser.get_http_version() == "1.0")

    def _await_more(self, nbytes: int) -> None:
        """A request has begun and is not complete: time runs. Requests that arrive in one piece never come here."""
        if self._phase == turns.HEAD:
            self._fed += nbytes  # the parser keeps an unfinished field to itself
            if self._fed > self._limits.head:
                self._end(refusals.HEAD_TOO_LARGE)
                return
        elif self._size and self._refusal is None and self._shared.buffered > self._limits.buffered:
            self._end(refusals.BUFFERS_FULL)  # whether its bytes came in one piece or in many
            return
        if self._timed != self._phase:
            self._timed = self._phase
            self._expire_in(self._limits.head_timeout if self._phase == turns.HEAD else self._limits.body_timeout)

    def _end(self, refusal: refusals.Refusal) -> _Ended:
        """Reads no more: the refusal is the last answer. Raise the result to leave the parser."""
        if self._phase != turns.ENDED:
            self._release()
            self._phase = turns.ENDED
            self._expires = turns.NEVER
            self._body = b""
            self._refuse_in_turn(refusal, keep=False)
        return _Ended()

    def _release(self) -> None:
        """The body, if any, is no longer arriving."""
        if self._size and self._refusal is None and self._phase == turns.BODY:
            self._shared.buffered -= self._size

    # Time.

    def expire(self, now: int) -> None:
        """Ends the connection if its time is up.

        Args:
            now: Monotonic nanoseconds.
        """
        if now < self._expires:
            return
        self._now = now
        if not self._writable:
            self._abort()
        elif self._phase == turns.ENDED:
            self._transport.close()
            self._expires = turns.NEVER
        elif self._phase == turns.BETWEEN:
            self.close_if_idle()
        elif self._paused:  # it is this server that does not read
            self._expire_in(self._limits.head_timeout if self._phase == turns.HEAD else self._limits.body_timeout)
        else:
            self._end(refusals.HEAD_TIMEOUT if self._phase == turns.HEAD else refusals.BODY_TIMEOUT)

    def close_if_idle(self) -> None:
        """Closes the connection unless a request is arriving or being served."""
        if self._phase == turns.BETWEEN and not self._is_busy():
            self._phase = turns.ENDED
            self._closed = True
            self._transport.close()

    def abort(self) -> bool:
        """Cuts the connection.

        Returns:
            Whether a request was cut off with it.
        """
        cut = self._is_busy() or self._phase in {turns.HEAD, turns.BODY}
        self._abort()
        return cut
