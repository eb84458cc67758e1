"""What handlers receive and give, and how their answers look on the wire."""

import dataclasses
import http
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple


class Request(NamedTuple):
    """One request to a webhook. A tuple: one is made per review, and a frozen dataclass costs three times as much.

    Attributes:
        path: The path of the request target, without its query.
        body: The whole body, in one piece and owned by the handler.
        deadline: The latest useful time of the answer, in nanoseconds of `time.monotonic_ns`.
        content_type: The header field as it was sent, or None.
        traceparent: The header field (W3C Trace Context), or None. Sent twice it is joined by a comma, hence invalid.
        tracestate: The header field, or None. Sent twice it is joined by a comma, as the specification wants.
        fields: All header fields that were kept, by their names in lower case.
    """

    path: str
    body: bytes | bytearray
    deadline: int
    content_type: bytes | None = None
    traceparent: bytes | None = None
    tracestate: bytes | None = None
    fields: Mapping[bytes, bytes] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """An answer other than 200 with a JSON document.

    Attributes:
        status: The HTTP status code.
        body: The content.
        content_type: Its media type.
    """

    status: int
    body: bytes
    content_type: bytes = b"application/json"


Answer = bytes | Response
"""What a handler answers: the bytes of a JSON document (status 200), or a whole response."""

Handler = Callable[[Request], Answer | Awaitable[Answer]]
"""Decides about one request. An `Answer` is sent at once; an awaitable becomes a task that ends by the deadline."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def encode_document(document: bytes, *, close: bool) -> bytes:
    """A JSON document as a response with status 200."""
    if close:
        return b"%b%d\r\nConnection: close\r\n\r\n%b" % (_DOCUMENT_HEAD, len(document), document)
    return b"%b%d\r\n\r\n%b" % (_DOCUMENT_HEAD, len(document), document)


def encode(response: Response, *, close: bool, extra: bytes = b"") -> bytes:
    """A response on the wire.

    Args:
        response: The answer.
        close: Whether the connection ends with it.
        extra: More header fields, each ended by CR LF.
    """
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n%b" % (
        response.status,
        _phrase(response.status),
        response.content_type,
        len(response.body),
        extra,
        b"Connection: close\r\n" if close else b"",
        response.body,
    )


def _phrase(status: int) -> bytes:
    try:
        return http.HTTPStatus(status).phrase.encode("ascii")
    except ValueError:  # a code without a registered phrase: the grammar allows an empty one
        return b""


_DOCUMENT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
