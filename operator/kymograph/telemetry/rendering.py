"""Turns the log of a kept request into spans, outside the request.

`ReadableSpan`s are built directly: the SDK's own way (a tracer, a lock and three bounded collections per span) costs
several times as much and could not give a span the id that was already sent downstream. What a step is called is not
known here: the engine is a sibling layer, so the caller passes the function that names a step.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import trace
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from kymograph.telemetry import recorder, semconv

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.util.types import AnyValue

    from kymograph.telemetry.propagation import RemoteParent

Describe = Callable[[int, object], tuple[str, Mapping[str, "AnyValue"]]]
"""Turns a step's code and subject into a span's name and constant attributes. Called in the export thread; the mapping
it returns is not changed, so one per policy and rule can be kept."""

MAX_ATTRIBUTE_BYTES = 1_024
"""Bytes of UTF-8 that one attribute's string may have. Kyverno cuts at 256, too short for its own messages."""

RESULT_KEYS = (
    semconv.POLICY_RESULT,
    semconv.RULE_RESULT,
    semconv.MATCH_RESULT,
    semconv.CONTEXT_RESULT,
    semconv.PRECONDITIONS_RESULT,
    semconv.NEED_RESULT,
)
"""Which attribute holds a step's outcome, by step code (`kymograph.engine.watching.Step`)."""

_RULE = 1
_UNSET = Status(StatusCode.UNSET)
_NOT_SAMPLED, _SAMPLED = TraceFlags(TraceFlags.DEFAULT), TraceFlags(TraceFlags.SAMPLED)
_ELLIPSIS = "..."


def bounded(text: str, limit: int = MAX_ATTRIBUTE_BYTES) -> str:
    """Cut a string to a number of UTF-8 bytes, between characters; what UTF-8 cannot hold becomes `?`."""
    if text.isascii():
        return text if len(text) <= limit else text[: limit - len(_ELLIPSIS)] + _ELLIPSIS
    raw = text.encode("utf-8", "replace")
    if len(raw) <= limit:
        return raw.decode()
    return raw[: limit - len(_ELLIPSIS)].decode("utf-8", "ignore") + _ELLIPSIS


def bounded_values(attributes: "Mapping[str, AnyValue]") -> "dict[str, AnyValue]":
    """Copy attributes, with every string cut to the limit."""
    return {key: bounded(value) if isinstance(value, str) else value for key, value in attributes.items()}


class _Step(NamedTuple):
    """A step that has begun."""

    context: SpanContext
    parent: SpanContext
    code: int
    subject: object
    start: int


class _Call(NamedTuple):
    """A client's call that has begun."""

    context: SpanContext
    parent: SpanContext
    began: recorder.ClientBegin
    start: int


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
        decision, server = record.decision, record.server
        if server is None:
            return []
        trace_id, offset = decision.trace_id, record.wall_ns - record.started_ns
        flags, state = _SAMPLED if decision.sampled else _NOT_SAMPLED, _state(decision.tracestate)
        current = root = SpanContext(trace_id, decision.span_id, False, flags, state)
        spans: list[ReadableSpan] = []
        steps: list[_Step] = []
        calls: dict[int, _Call] = {}

        for head, body, now in recorder.written_out(record.log):
            if isinstance(head, str):
                step = steps.pop()
                spans.append(self._step(step, head, str(body), now + offset))
                current = step.parent
            elif isinstance(body, recorder.ClientBegin):
                context = SpanContext(trace_id, body.span_id, False, flags, state)
                around = calls.get(body.parent_id)
                parent = around.context if around is not None else current
                calls[body.span_id] = _Call(context, parent, body, now + offset)
            elif isinstance(body, recorder.ClientEnd):
                if (call := calls.pop(body.span_id, None)) is not None:
                    spans.append(self._call(call, body, now + offset))
            else:
                context = SpanContext(trace_id, self._ids.generate_span_id(), False, flags, state)
                steps.append(_Step(context, current, head, body, now + offset))
                current = context

        end = server.now + offset
        spans.extend(self._step(step, "", "", end) for step in reversed(steps))
        spans.extend(self._call(call, recorder.ClientEnd(0, {}, ""), end) for call in calls.values())
        spans.append(self._server(record, server, root, state))
        return spans

    def _step(self, step: _Step, outcome: str, detail: str, end: int) -> ReadableSpan:
        name, described = self._describe(step.code, step.subject)
        attributes = {**described, RESULT_KEYS[step.code]: outcome}
        events: tuple[Event, ...] = ()
        status = _UNSET
        if detail:
            attributes[semconv.MESSAGE] = detail = bounded(detail)
        if outcome == "error":
            status = Status(StatusCode.ERROR, detail)
        elif outcome == "fail" and step.code == _RULE:
            events = (Event(semconv.EVENT_VIOLATION, {semconv.MESSAGE: detail}, end),)
        return ReadableSpan(
            name,
            context=step.context,
            parent=step.parent,
            resource=self._resource,
            attributes=attributes,
            events=events,
            status=status,
            start_time=step.start,
            end_time=end,
            instrumentation_scope=self._scope,
        )

    def _call(self, call: _Call, ended: recorder.ClientEnd, end: int) -> ReadableSpan:
        return ReadableSpan(
            call.began.name,
            context=call.context,
            parent=call.parent,
            resource=self._resource,
            attributes=bounded_values({**call.began.attributes, **ended.attributes}),
            kind=SpanKind.CLIENT,
            status=Status(StatusCode.ERROR, bounded(ended.error)) if ended.error else _UNSET,
            start_time=call.start,
            end_time=end,
            instrumentation_scope=self._scope,
        )

    def _server(
        self,
        record: recorder.Recorder,
        server: recorder.Server,
        context: SpanContext,
        state: TraceState | None,
    ) -> ReadableSpan:
        parent, link, offset = record.decision.parent, record.decision.link, record.wall_ns - record.started_ns
        attributes = bounded_values(server.attributes)
        if record.dropped:
            attributes[semconv.STEPS_DROPPED] = record.dropped
        if record.kept_by:
            attributes[semconv.KEPT_BY] = record.kept_by
            if parent is not None and not parent.sampled:
                attributes[semconv.PARENT_SAMPLED] = False
        return ReadableSpan(
            server.name,
            context=context,
            parent=None if parent is None else _remote(parent, state),
            resource=self._resource,
            attributes=attributes,
            events=tuple(Event(name, bounded_values(values), now + offset) for name, values, now in server.events),
            links=() if link is None else (trace.Link(_remote(link, _state(link.tracestate))),),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR, bounded(server.error)) if server.error else _UNSET,
            start_time=record.wall_ns,
            end_time=server.now + offset,
            instrumentation_scope=self._scope,
        )


def _remote(parent: "RemoteParent", state: TraceState | None) -> SpanContext:
    return SpanContext(parent.trace_id, parent.span_id, True, _SAMPLED if parent.sampled else _NOT_SAMPLED, state)


def _state(tracestate: str) -> TraceState | None:
    return TraceState.from_header([tracestate]) if tracestate else None
