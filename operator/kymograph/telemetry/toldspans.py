"""Spans of the SDK's tracers as they may be told: the one place that all of them pass on their way out.

Reviews are rendered by us, and what they say is bounded and redacted where that is done (`rendering`). Spans of
background work are made by the SDK, which writes the text of an exception that leaves one into an event, as it is and
however long. So the texts of such spans, of their events and of their status are gone through once, when they end.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Status

from kymograph.telemetry import credentials, rendering, subject

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

MOST_STACK = 16_384
"""Bytes of UTF-8 of an exception's stack."""

_STACK = "exception.stacktrace"


def told(span: ReadableSpan) -> ReadableSpan:
    """A span without what nobody is to be told; the span itself where there is nothing of that."""
    attributes = _told(span.attributes)
    events = [_told(event.attributes) for event in span.events]
    description = span.status.description
    said = None if description is None else _text(description, rendering.MAX_ATTRIBUTE_BYTES)
    if attributes is None and said == description and not any(each is not None for each in events):
        return span
    return copied(
        span,
        attributes=span.attributes if attributes is None else attributes,
        events=tuple(
            event if changed is None else Event(event.name, changed, event.timestamp)
            for event, changed in zip(span.events, events, strict=True)
        ),
        status=Status(span.status.status_code, said),
    )


def copied(
    span: ReadableSpan,
    *,
    attributes: "Mapping[str, AnyValue] | None" = None,
    events: tuple[Event, ...] | None = None,
    status: Status | None = None,
    end_time: int | None = None,
) -> ReadableSpan:
    """A copy of a span in which something is different."""
    return ReadableSpan(
        span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes if attributes is None else attributes,
        events=span.events if events is None else events,
        links=span.links,
        kind=span.kind,
        status=span.status if status is None else status,
        start_time=span.start_time,
        end_time=span.end_time if end_time is None else end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _told(attributes: "Mapping[str, AnyValue] | None") -> "dict[str, AnyValue] | None":
    """Attributes as they may be told; None where they may be as they are."""
    changed: dict[str, AnyValue] = {}
    for key, value in (attributes or {}).items():
        if isinstance(value, str):
            text = _text(value, MOST_STACK if key == _STACK else rendering.MAX_ATTRIBUTE_BYTES)
            if text != value:
                changed[key] = text
        elif isinstance(value, tuple | list):
            texts = [_text(each, rendering.MAX_ATTRIBUTE_BYTES) if isinstance(each, str) else each for each in value]
            if texts != list(value):
                changed[key] = tuple(texts)
    return {**(attributes or {}), **changed} if changed else None


def _text(text: str, limit: int) -> str:
    return rendering.bounded(subject.current().told(credentials.without_queries(text)), limit)
