"""Every way in which the server refuses, with the reason it is counted under.

No refusal has status 200, and none holds an AdmissionReview: an API server can only read it as a failed call.
"""

import dataclasses

from kymograph.controllers.admission.server import messages


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of the server's own, encoded once.

    Attributes:
        reason: The name under which it is counted; stable, one word.
        keep: The response for a connection that goes on.
        close: The response that ends the connection.
        response: The same, for a handler that gives it.
    """

    reason: str
    keep: bytes
    close: bytes
    response: messages.Response


def _refusal(reason: str, status: int, text: str, extra: bytes = b"", *, bodiless: bool = False) -> Refusal:
    body = b"" if bodiless else f'{{"error":"{reason}: {text}"}}'.encode()
    response = messages.Response(status, body)
    return Refusal(
        reason,
        keep=messages.encode(response, close=False, extra=extra),
        close=messages.encode(response, close=True, extra=extra),
        response=response,
    )


UNKNOWN_PATH = _refusal("unknown_path", 404, "no webhook is served here")
METHOD = _refusal("method", 405, "reviews are sent with POST", b"Allow: POST\r\n")
METHOD_HEAD = _refusal("method", 405, "", b"Allow: POST\r\n", bodiless=True)
CONTENT_TYPE = _refusal("content_type", 415, "reviews are sent as application/json")
BODY_TOO_LARGE = _refusal("body_too_large", 413, "the body exceeds the limit of this server")
HEAD_TOO_LARGE = _refusal("head_too_large", 431, "request line and header fields exceed the limit of this server")
MALFORMED = _refusal("malformed", 400, "this is not an HTTP/1.1 request")
UPGRADE = _refusal("upgrade", 400, "only HTTP/1.1 is spoken here")
EXPECTATION = _refusal("expectation", 417, "the only expectation met is 100-continue")
HEAD_TIMEOUT = _refusal("head_timeout", 408, "the header fields did not arrive in time")
BODY_TIMEOUT = _refusal("body_timeout", 408, "the body did not arrive in time")
TOO_MANY_CONNECTIONS = _refusal("too_many_connections", 503, "too many connections", b"Retry-After: 1\r\n")
BUFFERS_FULL = _refusal("buffers_full", 503, "too many bodies are arriving at once", b"Retry-After: 1\r\n")
DEADLINE = _refusal("deadline", 504, "no decision was made in time")
FAILED = _refusal("failed", 500, "the webhook failed; its log says why")

REASONS = frozenset(value.reason for value in list(globals().values()) if isinstance(value, Refusal))
"""Every reason `on_refused` can be told: the values of a metric's label."""
