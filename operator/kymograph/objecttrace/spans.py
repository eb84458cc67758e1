"""A finished span as a value, decoded from OTLP and cut to limits: what comes over the wire is nobody's promise.

The field names follow OTLP's `opentelemetry/proto/trace/v1/trace.proto`. Decoding refuses spans whose ids OTLP calls
invalid (wrong length or all zero), and cuts everything else that is too long or too many.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

Value: TypeAlias = "str | bool | int | float | bytes | Sequence[Value] | Mapping[str, Value] | None"
Attributes: TypeAlias = Mapping[str, Value]

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES = ("unset", "ok", "error")
_MAX_DEPTH = 4  # of values within values; what lies deeper becomes None


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """How much of one span is kept.

    Attributes:
        items: Attributes, events and links, each, and elements of a list or map.
        text: Characters of a name, a key, a message or a value (bytes of a bytes value).
    """

    items: int = 128
    text: int = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Something that happened within a span, at a moment (nanoseconds since the epoch)."""

    name: str
    time: int
    attributes: Attributes


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A relation to a span of this or another trace; ids in lower-case hex."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A finished span.

    Attributes:
        trace_id: 32 lower-case hex digits.
        span_id: 16 lower-case hex digits.
        parent_id: The same, or empty for the root of a trace.
        name: Its name.
        kind: `unspecified`, `internal`, `server`, `client`, `producer` or `consumer`.
        start: Nanoseconds since the epoch.
        end: The same; it may lie before `start`, as clocks do.
        attributes: By key.
        status: `unset`, `ok` or `error`.
        message: What the status says beside it; usually empty.
        events: In the order received.
        links: In the order received.
        resource: The attributes of what produced the span: `service.name`, ...
        scope: The name of the instrumentation that made it.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    name: str
    kind: str = "internal"
    start: int
    end: int
    attributes: Attributes = dataclasses.field(default_factory=dict)
    status: str = "unset"
    message: str = ""
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    resource: Attributes = dataclasses.field(default_factory=dict)
    scope: str = ""

    @property
    def service(self) -> str:
        """The resource's `service.name`, or an empty string."""
        name = self.resource.get("service.name")
        return name if isinstance(name, str) else ""


def decode_resource(resource: resource_pb2.Resource, limits: Limits) -> Attributes:
    """The attributes of a resource, which all its spans share."""
    return _attributes(resource.attributes, limits)


def decode(span: trace_pb2.Span, resource: Attributes, scope: str, limits: Limits) -> Span | None:
    """Decodes a span; None for one whose ids are invalid.

    Args:
        span: As received.
        resource: What `decode_resource` made of its resource.
        scope: The name of its instrumentation scope.
        limits: How much of it is kept.
    """
    if not _valid(span.trace_id, 16) or not _valid(span.span_id, 8):
        return None
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if _valid(span.parent_span_id, 8) else "",
        name=span.name[: limits.text],
        kind=_KINDS[span.kind] if span.kind < len(_KINDS) else _KINDS[0],
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes, limits),
        status=_STATUSES[span.status.code] if span.status.code < len(_STATUSES) else _STATUSES[0],
        message=span.status.message[: limits.text],
        events=tuple(
            Event(event.name[: limits.text], event.time_unix_nano, _attributes(event.attributes, limits))
            for event in span.events[: limits.items]
        ),
        links=tuple(
            Link(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes, limits))
            for link in span.links[: limits.items]
            if _valid(link.trace_id, 16) and _valid(link.span_id, 8)
        ),
        resource=resource,
        scope=scope[: limits.text],
    )


def _valid(identifier: bytes, length: int) -> bool:
    return len(identifier) == length and any(identifier)


def _attributes(pairs: Iterable[common_pb2.KeyValue], limits: Limits, depth: int = 0) -> Attributes:
    decoded: dict[str, Value] = {}
    for pair in pairs:
        if len(decoded) == limits.items:
            break
        decoded[pair.key[: limits.text]] = _value(pair.value, limits, depth)
    return decoded


def _value(value: common_pb2.AnyValue, limits: Limits, depth: int) -> Value:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value[: limits.text]
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bytes_value":
            return value.bytes_value[: limits.text]
        case "array_value" if depth < _MAX_DEPTH:
            return tuple(_value(item, limits, depth + 1) for item in value.array_value.values[: limits.items])
        case "kvlist_value" if depth < _MAX_DEPTH:
            return _attributes(value.kvlist_value.values, limits, depth + 1)
        case _:
            return None
