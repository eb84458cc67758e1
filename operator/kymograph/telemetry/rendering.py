"""Turns the log of a kept request into the SDK's spans, outside the request: for exporters that want those.

`ReadableSpan`s are built directly: the SDK's own way (a tracer, a lock and three bounded collections per span) costs
several times as much and could not give a span the id that was already sent downstream. What a step is called is not
known here: the engine is a sibling layer, so the caller passes the function that names a step. Over OTLP the steps
leave without having been `ReadableSpan`s (`recordencoding`); what they say is said here once, for both.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from kymograph.telemetry import credentials, nesting, recorder, semconv

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.util.types import AnyValue

    from kymograph.telemetry.propagation import RemoteParent

Describe = Callable[[int, object], tuple[str, Mapping[str, "AnyValue"]]]
"""Turns a step's code and subject into a span's name and constant attributes. Called in the export thread; the mapping
it returns is not changed."""

MAX_ATTRIBUTE_BYTES = 1_024
"""Bytes of UTF-8 that one attribute's string may have. Kyverno cuts at 256, too short for its own messages."""

MAX_ATTRIBUTE_ITEMS = 64
"""Items that one attribute's sequence may have: warnings, groups of a user."""

RESULT_KEYS = (
    semconv.POLICY_RESULT,
    semconv.RULE_RESULT,
    semconv.MATCH_RESULT,
    semconv.CONTEXT_RESULT,
    semconv.PRECONDITIONS_RESULT,
    semconv.NEED_RESULT,
    semconv.EXCEPTION_RESULT,
)
"""Which attribute holds a step's outcome, by step code (`kymograph.engine.watching.Step`)."""

ERROR = "error"
"""The outcome of a step that is an error status, too."""

_FAIL = "fail"
_UNSET = Status(StatusCode.UNSET)
_NOT_SAMPLED, _SAMPLED = TraceFlags(TraceFlags.DEFAULT), TraceFlags(TraceFlags.SAMPLED)
_ELLIPSIS = "..."


def bounded(text: str, limit: int = MAX_ATTRIBUTE_BYTES) -> str:
    """Cut a string to a number of UTF-8 bytes, between characters; what UTF-8 cannot hold becomes `?`.

    Tokens are taken out: what is bounded is on its way to others.
    """
    text = credentials.redacted(text)
    if text.isascii():
        return text if len(text) <= limit else text[: limit - len(_ELLIPSIS)] + _ELLIPSIS
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - len(_ELLIPSIS)].decode("utf-8", "ignore") + _ELLIPSIS


def bounded_values(attributes: "Mapping[str, AnyValue]") -> "dict[str, AnyValue]":
    """Copy attributes, with every string cut to the limit, and every sequence too."""
    return {
        key: bounded(value) if isinstance(value, str) else _bounded_items(value) if isinstance(value, tuple) else value
        for key, value in attributes.items()
    }


def _bounded_items(values: "tuple[AnyValue, ...]") -> "tuple[AnyValue, ...]":
    return tuple(bounded(value) if isinstance(value, str) else value for value in values[:MAX_ATTRIBUTE_ITEMS])


def is_violation(code: int, outcome: str) -> bool:
    """Whether a step's end is an event, too: a rule that was violated."""
    return code == recorder.RULE and outcome == _FAIL


class Renderer:
    """Builds the spans of finished recorders.

    Args:
        describe: Names a step and gives its attributes.
        resource: The resource all spans carry.
        scope: The instrumentation scope all spans carry.
        ids: Where the ids of steps come from.
    """

    def __init__(
        self,
        describe: Describe,
        resource: "Resource",
        scope: "InstrumentationScope",
        ids: "IdGenerator",
    ) -> None:
        self._describe = describe
        self._resource = resource
        self._scope = scope
        self._ids = ids

    def render(self, record: recorder.Recorder) -> list[ReadableSpan]:
        """Build a finished recorder's spans, the server span last. What was left open ends with the request."""
        if record.server is None:
            return []
        server = self.server(record, record.server)
        steps, calls = nesting.read(record, server.end_time or 0, self._ids.generate_span_id())
        context = server.context
        return [*(self._step(context, step) for step in steps), *(self.call(context, call) for call in calls), server]

    def _step(self, around: SpanContext, step: nesting.Step) -> ReadableSpan:
        span_id, parent_id, code, subject, outcome, detail, start, end = step
        name, described = self._describe(code, subject)
        attributes = {**bounded_values(described), RESULT_KEYS[code]: outcome}
        detail = bounded(detail)
        if detail:
            attributes[semconv.MESSAGE] = detail
        violated = is_violation(code, outcome)
        return ReadableSpan(
            name,
            context=_within(around, span_id),
            parent=_within(around, parent_id),
            resource=self._resource,
            attributes=attributes,
            events=(Event(semconv.EVENT_VIOLATION, {semconv.MESSAGE: detail}, end),) if violated else (),
            status=Status(StatusCode.ERROR, detail) if outcome == ERROR else _UNSET,
            start_time=start,
            end_time=end,
            instrumentation_scope=self._scope,
        )

    def call(self, around: SpanContext, call: nesting.Call) -> ReadableSpan:
        """Build the span of a call; `around` is any span's context of its trace."""
        return ReadableSpan(
            call.name,
            context=_within(around, call.span_id),
            parent=_within(around, call.parent_id),
            resource=self._resource,
            attributes=bounded_values(call.attributes),
            kind=SpanKind.CLIENT,
            status=Status(StatusCode.ERROR, bounded(call.error)) if call.error else _UNSET,
            start_time=call.start,
            end_time=call.end,
            instrumentation_scope=self._scope,
        )

    def server(self, record: recorder.Recorder, server: recorder.Server) -> ReadableSpan:
        """Build the span of the whole request."""
        decision, offset = record.decision, record.wall_ns - record.started_ns
        parent, link = decision.parent, decision.link
        flags, state = _SAMPLED if decision.sampled else _NOT_SAMPLED, _state(decision.tracestate)
        attributes = bounded_values(server.attributes)
        if record.dropped:
            attributes[semconv.STEPS_DROPPED] = record.dropped
        if record.kept_by:
            attributes[semconv.KEPT_BY] = record.kept_by
            if parent is not None and not parent.sampled:
                attributes[semconv.PARENT_SAMPLED] = False
        return ReadableSpan(
            server.name,
            context=SpanContext(decision.trace_id, decision.span_id, False, flags, state),
            parent=None if parent is None else _remote(parent, state),
            resource=self._resource,
            attributes=attributes,
            events=tuple(Event(name, bounded_values(values), now + offset) for name, values, now in server.events),
            links=() if link is None else (Link(_remote(link, _state(link.tracestate))),),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR, bounded(server.error)) if server.error else _UNSET,
            start_time=record.wall_ns,
            end_time=server.now + offset,
            instrumentation_scope=self._scope,
        )


def _within(around: SpanContext, span_id: int) -> SpanContext:
    """The context of another span of the same trace, made in this process."""
    return SpanContext(around.trace_id, span_id, False, around.trace_flags, around.trace_state)


def _remote(parent: "RemoteParent", state: TraceState | None) -> SpanContext:
    return SpanContext(parent.trace_id, parent.span_id, True, _SAMPLED if parent.sampled else _NOT_SAMPLED, state)


def _state(tracestate: str) -> TraceState | None:
    return TraceState.from_header([tracestate]) if tracestate else None
