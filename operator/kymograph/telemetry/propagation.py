"""W3C Trace Context on the wire: who called us, and what we tell those we call.

Source: https://www.w3.org/TR/trace-context-2/. A header that is malformed means that there is no parent; it never
fails a request. Of the flags only `sampled` is written: receivers built on OpenTelemetry's Go SDK refused a version 00
header whose flags exceed 02 until they learned the `random` bit, and the API server is one.
"""

import re
from typing import NamedTuple

MAX_TRACESTATE_LENGTH = 512
"""Characters of `tracestate` that a receiver must be ready to pass on; a longer one is not passed on at all."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rf"[ \t]*(?:{_KEY}={_VALUE})?[ \t]*")
_MAX_MEMBERS = 32
_SAMPLED = 0x01


class RemoteParent(NamedTuple):
    """The span of a caller in another process.

    Attributes:
        trace_id: 128 bits, never zero.
        span_id: 64 bits, never zero.
        sampled: The caller keeps its spans of this trace.
        tracestate: The caller's `tracestate` header as it came, or an empty string if it had none that is well formed.
    """

    trace_id: int
    span_id: int
    sampled: bool
    tracestate: str = ""


def parse(traceparent: str | bytes | None, tracestate: str | bytes | None = None) -> RemoteParent | None:
    """Read the headers of a request.

    Args:
        traceparent: The header's value, if the request has one.
        tracestate: The header's value; several headers are to be joined with a comma by the caller.

    Returns:
        The parent, or None if there is none or the header is malformed: wrong length or characters, version `ff`, an
        id of zeros, or a version `00` with something after the flags. A higher version is read as far as it is known.
    """
    if not traceparent:
        return None
    if isinstance(traceparent, bytes):
        traceparent = traceparent.decode("latin-1")
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    trace_id, span_id = int(trace, 16), int(span, 16)
    if version == "ff" or not trace_id or not span_id or (version == "00" and rest is not None):
        return None
    return RemoteParent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED), _bounded(tracestate))


def render(trace_id: int, span_id: int, *, sampled: bool) -> str:
    """Write the value of a `traceparent` header, version 00."""
    return f"00-{trace_id:032x}-{span_id:016x}-{'01' if sampled else '00'}"


def headers(trace_id: int, span_id: int, *, sampled: bool, tracestate: str = "") -> dict[str, str]:
    """Write the headers to add to a request we make."""
    written = {"traceparent": render(trace_id, span_id, sampled=sampled)}
    if tracestate:
        written["tracestate"] = tracestate
    return written


def _bounded(tracestate: str | bytes | None) -> str:
    if not tracestate:
        return ""
    if isinstance(tracestate, bytes):
        tracestate = tracestate.decode("latin-1")
    if len(tracestate) > MAX_TRACESTATE_LENGTH:
        return ""
    members = tracestate.split(",")
    if len(members) > _MAX_MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    return tracestate
