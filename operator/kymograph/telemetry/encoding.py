"""Spans as OTLP's protobuf, written directly.

The SDK's encoder builds a protobuf message for every span, attribute and value, ten times the cost of recording the
span, and all of it while holding the interpreter that reviews need. This one joins bytes, and remembers the bytes of
attributes it has seen, since the same few policies, rules and results make up almost all of them. A test holds what it
writes against what the SDK's encoder writes.

Field numbers: opentelemetry/proto/trace/v1/trace.proto.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind
from opentelemetry.trace.span import DEFAULT_TRACE_STATE

from kymograph.telemetry import wire

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, Status
    from opentelemetry.util.types import AnyValue

_MAX_REMEMBERED = 8_192
_MAX_REMEMBERED_LENGTH = 128

# the flags of a span and link: "it is known whether the parent is remote" (0x100), "it is" (0x200)
_FLAGS = b"\x85\x01" + wire.fixed32(0x100)
_REMOTE_FLAGS = b"\x85\x01" + wire.fixed32(0x300)

_KINDS = {kind: bytes((0x30, kind.value + 1)) for kind in SpanKind}  # the SDK counts from 0, OTLP from 1
_INTERNAL = SpanKind.INTERNAL
_INTERNAL_KIND = _KINDS[_INTERNAL]


class Encoder:
    """Writes export requests. Used by one thread."""

    def __init__(self) -> None:
        self._remembered: dict[str, dict[str, bytes]] = {}
        self._remembered_count = 0

    def encode(self, spans: "Iterable[ReadableSpan]") -> bytes:
        """Write an ExportTraceServiceRequest of these spans."""
        encoded: dict[tuple[int, int], tuple[ReadableSpan, list[bytes]]] = {}
        for span in spans:
            key = id(span.resource), id(span.instrumentation_scope)  # their own hashes walk all attributes
            group = encoded.get(key)
            if group is None:
                group = encoded[key] = (span, [])
            group[1].append(wire.field(b"\x12", self._span(span)))
        resources: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
        for first, written in encoded.values():
            resources.setdefault(first.resource, {}).setdefault(first.instrumentation_scope, []).extend(written)
        return b"".join(
            wire.field(b"\x0a", _resource_spans(resource, scopes)) for resource, scopes in resources.items()
        )

    def _span(self, span: "ReadableSpan") -> bytes:
        context, parent = span.get_span_context(), span.parent
        if context is None:
            return b""
        trace_id, span_id, _, _, trace_state, _ = context
        name = span.name.encode("utf-8", "replace")
        parts = [
            b"\x0a\x10",
            trace_id.to_bytes(16, "big"),
            b"\x12\x08",
            span_id.to_bytes(8, "big"),
            b"" if trace_state is DEFAULT_TRACE_STATE else wire.text(b"\x1a", trace_state.to_header()),
            b"" if parent is None else b"\x22\x08" + parent.span_id.to_bytes(8, "big"),
            b"\x2a",
            wire.length(name),
            name,
            _INTERNAL_KIND if (kind := span.kind) is _INTERNAL else _KINDS[kind],
            b"\x39",
            wire.fixed64(span.start_time or 0),
            b"\x41",
            wire.fixed64(span.end_time or 0),
        ]
        if attributes := span.attributes:
            remembered = self._remembered
            for key, value in attributes.items():
                known = remembered.get(key)
                encoded = known.get(value) if known is not None and type(value) is str else None
                parts.append(self._attribute(key, value) if encoded is None else encoded)
        if dropped := span.dropped_attributes:
            parts.append(b"\x50" + wire.varint(dropped))
        if events := span.events:
            parts += (wire.field(b"\x5a", _event(event)) for event in events)
            if dropped := span.dropped_events:
                parts.append(b"\x60" + wire.varint(dropped))
        if links := span.links:
            parts += (wire.field(b"\x6a", _link(link)) for link in links)
            if dropped := span.dropped_links:
                parts.append(b"\x70" + wire.varint(dropped))
        parts += (_status(span.status), _REMOTE_FLAGS if parent is not None and parent.is_remote else _FLAGS)
        return b"".join(parts)

    def _attribute(self, key: str, value: "AnyValue") -> bytes:
        """Write a span's attribute, and remember it if it is a short string."""
        encoded = wire.field(b"\x4a", wire.key_value(key, value))
        if isinstance(value, str) and len(encoded) <= _MAX_REMEMBERED_LENGTH:
            if self._remembered_count >= _MAX_REMEMBERED:
                self._remembered.clear()
                self._remembered_count = 0
            self._remembered.setdefault(key, {})[value] = encoded
            self._remembered_count += 1
        return encoded


def _resource_spans(resource: "Resource", scopes: "dict[InstrumentationScope | None, list[bytes]]") -> bytes:
    return b"".join(
        (
            wire.field(b"\x0a", wire.resource(resource)),
            *(wire.field(b"\x12", _scope_spans(scope, spans)) for scope, spans in scopes.items()),
            wire.text(b"\x1a", resource.schema_url),
        )
    )


def _scope_spans(scope: "InstrumentationScope | None", spans: list[bytes]) -> bytes:
    schema_url = None if scope is None else scope.schema_url
    return b"".join((wire.field(b"\x0a", wire.scope(scope)), *spans, wire.text(b"\x1a", schema_url)))


def _event(event: "Event") -> bytes:
    encoded = b"\x09" + wire.fixed64(event.timestamp) + wire.text(b"\x12", event.name)
    encoded += wire.attributes(b"\x1a", event.attributes)
    return encoded + (b"\x20" + wire.varint(event.dropped_attributes) if event.dropped_attributes else b"")


def _link(link: "Link") -> bytes:
    context: SpanContext = link.context
    encoded = b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")
    if context.trace_state:
        encoded += wire.text(b"\x1a", context.trace_state.to_header())
    encoded += wire.attributes(b"\x22", link.attributes)
    if link.dropped_attributes:
        encoded += b"\x28" + wire.varint(link.dropped_attributes)
    return encoded + b"\x35" + wire.fixed32(0x300 if context.is_remote else 0x100)


def _status(status: "Status") -> bytes:
    if status.is_unset:
        return b"\x7a\x00"
    code = status.status_code.value
    return wire.field(b"\x7a", wire.text(b"\x12", status.description) + (b"\x18" + wire.SHORT[code] if code else b""))
