"""Spans as OTLP's protobuf, written directly.

The SDK's encoder builds a protobuf message for every span, attribute and value, ten times the cost of recording the
span, and all of it while holding the interpreter that reviews need. This one joins bytes, and remembers the bytes of
attributes it has seen, since the same few policies, rules and results make up almost all of them.

Field numbers: opentelemetry/proto/trace/v1/trace.proto.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind
from opentelemetry.trace.span import DEFAULT_TRACE_STATE

from kymograph.telemetry import wire

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import Link, SpanContext, Status
    from opentelemetry.util.types import AnyValue

SPANS = b"\x12"
"""The tag of a span among those of a ScopeSpans message."""

_MAX_REMEMBERED = 1_024
_MAX_REMEMBERED_LENGTH = 128  # with its value and its place half a megabyte in all, for each of up to seven encoders

# the flags of a span and link: "it is known whether the parent is remote" (0x100), "it is" (0x200)
FLAGS = b"\x85\x01" + wire.fixed32(0x100)
REMOTE_FLAGS = b"\x85\x01" + wire.fixed32(0x300)

KINDS = {kind: bytes((0x30, kind.value + 1)) for kind in SpanKind}  # the SDK counts from 0, OTLP from 1
_INTERNAL = SpanKind.INTERNAL
_INTERNAL_KIND = KINDS[_INTERNAL]


class SpanEncoder:
    """Writes spans one by one, and remembers the bytes of their attributes.

    Two threads may use it at a time: an attribute may then be written twice, and never wrongly.
    """

    def __init__(self) -> None:
        self._remembered: dict[str, dict[str, bytes]] = {}
        self._remembered_count = 0

    def encode(self, span: "ReadableSpan") -> bytes:
        """Write a span as a field of a ScopeSpans message."""
        context, parent = span.get_span_context(), span.parent
        if context is None:
            return b""
        name = span.name.encode("utf-8", "replace")
        parts = [
            trace(context),
            b"\x12\x08",
            context.span_id.to_bytes(8, "big"),
            b"" if parent is None else b"\x22\x08" + parent.span_id.to_bytes(8, "big"),
            b"\x2a",
            wire.length(name),
            name,
            _INTERNAL_KIND if (kind := span.kind) is _INTERNAL else KINDS[kind],
            b"\x39",
            wire.fixed64(span.start_time or 0),
            b"\x41",
            wire.fixed64(span.end_time or 0),
        ]
        if attributes := span.attributes:
            parts += [self._attribute(key, value) for key, value in attributes.items()]
        if dropped := span.dropped_attributes:
            parts.append(b"\x50" + wire.varint(dropped))
        if events := span.events:
            parts += [_event(event) for event in events]
            if dropped := span.dropped_events:
                parts.append(b"\x60" + wire.varint(dropped))
        if links := span.links:
            parts += [wire.field(b"\x6a", _link(link)) for link in links]
            if dropped := span.dropped_links:
                parts.append(b"\x70" + wire.varint(dropped))
        parts += (status(span.status), REMOTE_FLAGS if parent is not None and parent.is_remote else FLAGS)
        return wire.field(SPANS, b"".join(parts))

    def _attribute(self, key: str, value: "AnyValue") -> bytes:
        """Write a span's attribute, and remember it if it is a short string."""
        remembered = self._remembered
        if type(value) is str and (known := remembered.get(key)) is not None:
            encoded = known.get(value)
            if encoded is not None:
                return encoded
        encoded = attribute(key, value)
        if isinstance(value, str) and len(encoded) <= _MAX_REMEMBERED_LENGTH:
            if self._remembered_count >= _MAX_REMEMBERED:
                remembered.clear()
                self._remembered_count = 0
            remembered.setdefault(key, {})[value] = encoded
            self._remembered_count += 1
        return encoded


def trace(context: "SpanContext") -> bytes:
    """The fields of a Span message that all spans of a trace share."""
    written = b"\x0a\x10" + context.trace_id.to_bytes(16, "big")
    state = context.trace_state
    return written if state is DEFAULT_TRACE_STATE else written + wire.text(b"\x1a", state.to_header())


def attribute(key: str, value: "AnyValue") -> bytes:
    """An attribute as a field of a Span message."""
    return wire.field(b"\x4a", wire.key_value(key, value))


def _event(event: "Event") -> bytes:
    dropped = b"\x20" + wire.varint(event.dropped_attributes) if event.dropped_attributes else b""
    return event_of(event.name, event.attributes, event.timestamp, dropped)


def event_of(name: str, attributes: "Mapping[str, AnyValue] | None", timestamp: int, more: bytes = b"") -> bytes:
    """An event as a field of a Span message, and what more it says."""
    moment = b"\x09" + wire.fixed64(timestamp)
    return wire.field(b"\x5a", moment + wire.text(b"\x12", name) + wire.attributes(b"\x1a", attributes) + more)


def _link(link: "Link") -> bytes:
    context: SpanContext = link.context
    encoded = b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")
    if context.trace_state:
        encoded += wire.text(b"\x1a", context.trace_state.to_header())
    encoded += wire.attributes(b"\x22", link.attributes)
    if link.dropped_attributes:
        encoded += b"\x28" + wire.varint(link.dropped_attributes)
    return encoded + b"\x35" + wire.fixed32(0x300 if context.is_remote else 0x100)


def status(said: "Status") -> bytes:
    """A status as a field of a Span message."""
    if said.is_unset:
        return b"\x7a\x00"
    code = said.status_code.value
    return wire.field(b"\x7a", wire.text(b"\x12", said.description) + (b"\x18" + wire.SHORT[code] if code else b""))
