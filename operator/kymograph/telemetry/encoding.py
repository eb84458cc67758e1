"""Spans as OTLP's protobuf, written directly.

The SDK's encoder builds a protobuf message for every span, attribute and value, ten times the cost of recording the
span, and all of it while holding the interpreter that reviews need. This one joins bytes, and remembers the bytes of
attributes it has seen, since the same few policies, rules and results make up almost all of them. A test holds what it
writes against what the SDK's encoder writes.

Field numbers: opentelemetry/proto/trace/v1/trace.proto, common/v1/common.proto and resource/v1/resource.proto.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind
from opentelemetry.trace.span import DEFAULT_TRACE_STATE

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import Link, SpanContext, Status
    from opentelemetry.util.types import AnyValue

_MAX_REMEMBERED = 8_192
_MAX_REMEMBERED_LENGTH = 128

_fixed64 = struct.Struct("<Q").pack
_double = struct.Struct("<d").pack
_fixed32 = struct.Struct("<I").pack

# the flags of a span and link: "it is known whether the parent is remote" (0x100), "it is" (0x200)
_FLAGS = b"\x85\x01" + _fixed32(0x100)
_REMOTE_FLAGS = b"\x85\x01" + _fixed32(0x300)

_KINDS = {kind: bytes((0x30, kind.value + 1)) for kind in SpanKind}  # the SDK counts from 0, OTLP from 1
_INTERNAL = SpanKind.INTERNAL
_INTERNAL_KIND = _KINDS[_INTERNAL]


def _varint(number: int) -> bytes:
    """Encode an unsigned integer below 2^64."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


_SHORT = [_varint(number) for number in range(1 << 14)]


def _length(data: bytes) -> bytes:
    size = len(data)
    return _SHORT[size] if size < 1 << 14 else _varint(size)


def _field(tag: bytes, data: bytes) -> bytes:
    """A length-delimited field: a string, bytes or a message."""
    return tag + _length(data) + data


def _text(tag: bytes, text: str | None) -> bytes:
    return _field(tag, text.encode("utf-8", "replace")) if text else b""


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
            group[1].append(_field(b"\x12", self._span(span)))
        resources: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
        for first, written in encoded.values():
            resources.setdefault(first.resource, {}).setdefault(first.instrumentation_scope, []).extend(written)
        return b"".join(_field(b"\x0a", _resource_spans(resource, scopes)) for resource, scopes in resources.items())

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
            b"" if trace_state is DEFAULT_TRACE_STATE else _text(b"\x1a", trace_state.to_header()),
            b"" if parent is None else b"\x22\x08" + parent.span_id.to_bytes(8, "big"),
            b"\x2a",
            _length(name),
            name,
            _INTERNAL_KIND if (kind := span.kind) is _INTERNAL else _KINDS[kind],
            b"\x39",
            _fixed64(span.start_time or 0),
            b"\x41",
            _fixed64(span.end_time or 0),
        ]
        if attributes := span.attributes:
            remembered = self._remembered
            for key, value in attributes.items():
                known = remembered.get(key)
                encoded = known.get(value) if known is not None and type(value) is str else None
                parts.append(self._attribute(key, value) if encoded is None else encoded)
        if dropped := span.dropped_attributes:
            parts.append(b"\x50" + _varint(dropped))
        if events := span.events:
            parts += (_field(b"\x5a", _event(event)) for event in events)
            if dropped := span.dropped_events:
                parts.append(b"\x60" + _varint(dropped))
        if links := span.links:
            parts += (_field(b"\x6a", _link(link)) for link in links)
            if dropped := span.dropped_links:
                parts.append(b"\x70" + _varint(dropped))
        parts += (_status(span.status), _REMOTE_FLAGS if parent is not None and parent.is_remote else _FLAGS)
        return b"".join(parts)

    def _attribute(self, key: str, value: "AnyValue") -> bytes:
        """Write a span's attribute, and remember it if it is a short string."""
        encoded = _field(b"\x4a", _key_value(key, value))
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
            _field(b"\x0a", _attributes(b"\x0a", resource.attributes)),
            *(_field(b"\x12", _scope_spans(scope, spans)) for scope, spans in scopes.items()),
            _text(b"\x1a", resource.schema_url),
        )
    )


def _scope_spans(scope: "InstrumentationScope | None", spans: list[bytes]) -> bytes:
    described, schema_url = b"", None
    if scope is not None:
        described = _text(b"\x0a", scope.name) + _text(b"\x12", scope.version)
        described += _attributes(b"\x1a", scope.attributes)
        schema_url = scope.schema_url
    return b"".join((_field(b"\x0a", described), *spans, _text(b"\x1a", schema_url)))


def _event(event: "Event") -> bytes:
    encoded = b"\x09" + _fixed64(event.timestamp) + _text(b"\x12", event.name)
    encoded += _attributes(b"\x1a", event.attributes)
    return encoded + (b"\x20" + _varint(event.dropped_attributes) if event.dropped_attributes else b"")


def _link(link: "Link") -> bytes:
    context: SpanContext = link.context
    encoded = b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")
    if context.trace_state:
        encoded += _text(b"\x1a", context.trace_state.to_header())
    encoded += _attributes(b"\x22", link.attributes)
    if link.dropped_attributes:
        encoded += b"\x28" + _varint(link.dropped_attributes)
    return encoded + b"\x35" + _fixed32(0x300 if context.is_remote else 0x100)


def _attributes(tag: bytes, attributes: "Mapping[str, AnyValue] | None") -> bytes:
    return b"".join(_field(tag, _key_value(key, value)) for key, value in (attributes or {}).items())


def _status(status: "Status") -> bytes:
    if status.is_unset:
        return b"\x7a\x00"
    code = status.status_code.value
    return _field(b"\x7a", _text(b"\x12", status.description) + (b"\x18" + _SHORT[code] if code else b""))


def _key_value(key: str, value: "AnyValue") -> bytes:
    return _text(b"\x0a", key) + _field(b"\x12", _any_value(value))


def _any_value(value: "AnyValue") -> bytes:
    if isinstance(value, str):
        return _field(b"\x0a", value.encode("utf-8", "replace"))
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        if -1 << 63 <= value < 1 << 63:
            return b"\x18" + _varint(value & (1 << 64) - 1)
        return _field(b"\x0a", str(value).encode())  # a number that JSON can hold and OTLP cannot
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, bytes):
        return _field(b"\x3a", value)
    if isinstance(value, Mapping):
        return _field(b"\x32", b"".join(_field(b"\x0a", _key_value(str(key), each)) for key, each in value.items()))
    return _field(b"\x2a", b"".join(_field(b"\x0a", _any_value(each)) for each in value))
