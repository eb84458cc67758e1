"""Spans of work that no request waits for: a trace of its own each, linked to what caused it.

All of them say in the same way that they failed: `error.type`, an event `exception`, the status, with the text cut and
redacted as everywhere. The SDK's own way adds the stack, as long as it is and with whatever values are in it.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, TraceFlags, Tracer

from kymograph.telemetry import current, rendering, semconv, subject

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

    from kymograph.telemetry.sampling import Decision


@contextlib.contextmanager
def root(
    tracer: Tracer,
    name: str,
    attributes: "Mapping[str, AnyValue] | None" = None,
    causes: Iterable[SpanContext | None] = (),
) -> Iterator[Span]:
    """A unit of work: a root span, and the current one inside the block. An exception that leaves it is noted.

    Args:
        tracer: That of who does the work.
        name: Of low cardinality.
        attributes: What is known before; sampling rules look at these.
        causes: The spans that it is linked to; None for what is not known.
    """
    span = tracer.start_span(
        name,
        context=Context(),
        attributes=rendering.bounded_values(attributes or {}),
        links=[Link(cause) for cause in causes if cause is not None],
    )
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except Exception as error:
            fail(span, error)
            raise


def fail(span: Span, error: Exception) -> None:
    """Say that what a span is about failed, and why."""
    if not span.is_recording():
        return
    kind, message = type(error).__qualname__, rendering.bounded(subject.current().said(error))
    span.set_attribute(semconv.ERROR_TYPE, kind)
    span.add_event(semconv.EVENT_EXCEPTION, {semconv.EXCEPTION_TYPE: kind, semconv.EXCEPTION_MESSAGE: message})
    span.set_status(Status(StatusCode.ERROR, message or kind))


def cause() -> SpanContext | None:
    """The span of what is going on, for what is done later because of it; None where there is none that is kept."""
    found = current.place()
    return None if found is None or not found[2] else _context(*found)


def of(decision: "Decision") -> SpanContext | None:
    """The span of a review, likewise."""
    if not decision.recorded:
        return None
    return _context(decision.trace_id, decision.span_id, decision.sampled)


def _context(trace_id: int, span_id: int, sampled: bool) -> SpanContext:  # noqa: FBT001 - as `current.place` gives it
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)
