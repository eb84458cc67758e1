"""Export requests of spans as OTLP's protobuf, put together from spans that are bytes already or are made so here.

Spans of one resource and scope share one message of each, however many traces they are from. A test holds what is
written against what the SDK's encoder writes.

Field numbers: opentelemetry/proto/collector/trace/v1/trace_service.proto and trace/v1/trace.proto.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from kymograph.telemetry import spanencoding, wire

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope


class Written(NamedTuple):
    """A span of the SDK that is written already, as `Span` has it, and whose it is."""

    resource: "Resource"
    scope: "InstrumentationScope | None"
    data: bytes


Span: TypeAlias = "ReadableSpan | Written | bytes"
"""A span that is to be exported. As bytes it is a `spans` field of a ScopeSpans message, tag and length included: any
number of them, from any number of traces, are put together by being joined."""


_Group: TypeAlias = "tuple[Resource, InstrumentationScope | None, list[bytes]]"


class Origin(NamedTuple):
    """Whose spans those are that come as bytes."""

    resource: "Resource"
    scope: "InstrumentationScope"


class Encoder:
    """Writes export requests. Used by one thread.

    Args:
        origin: Whose spans those are that come as bytes; its resource is written as it is when they are put together.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._spans = spanencoding.SpanEncoder()

    def write(self, span: "ReadableSpan") -> Written:
        """Write a span of the SDK, for several destinations to send."""
        return Written(span.resource, span.instrumentation_scope, self._spans.encode(span))

    def encode(self, spans: Iterable[Span]) -> bytes:
        """Write an ExportTraceServiceRequest of these spans."""
        ours: list[bytes] = []
        encoded: dict[tuple[int, int], _Group] = {}
        for span in spans:
            if isinstance(span, bytes):
                ours.append(span)
                continue
            resource, scope, data = span if isinstance(span, Written) else self.write(span)
            key = id(resource), id(scope)  # their own hashes walk all attributes
            group = encoded.get(key)
            if group is None:
                group = encoded[key] = (resource, scope, [])
            group[2].append(data)
        resources: dict[Resource, dict[InstrumentationScope | None, list[bytes]]] = {}
        for resource, scope, written in [(*self._origin, ours), *encoded.values()]:
            if written:
                resources.setdefault(resource, {}).setdefault(scope, []).extend(written)
        return b"".join(
            wire.field(b"\x0a", _resource_spans(resource, scopes)) for resource, scopes in resources.items()
        )


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
