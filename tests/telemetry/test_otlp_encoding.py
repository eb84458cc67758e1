"""What our encoder writes, a receiver reads as it reads what the SDK's encoder writes."""

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from kymograph.telemetry import encoding, keeping, propagation, recorder, rendering, settings, spanencoding

RESOURCE = Resource({"service.name": "kymograph", "process.pid": 7}, "https://opentelemetry.io/schemas/1.30.0")
SCOPE = InstrumentationScope("kymograph", "1.2", "https://opentelemetry.io/schemas/1.30.0", {"a": "b"})
ORIGIN = encoding.Origin(RESOURCE, SCOPE)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
plain = st.one_of(
    text,
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.none(),
)
values = st.recursive(plain, lambda each: st.lists(each, max_size=3) | st.dictionaries(text, each, max_size=3))
attributes = st.dictionaries(text.filter(bool), values, max_size=6)
times = st.integers(0, (1 << 64) - 1)
states = st.sampled_from([None, TraceState([("a", "1"), ("b", "2")])])
contexts = st.builds(
    SpanContext,
    st.integers(1, (1 << 128) - 1),
    st.integers(1, (1 << 64) - 1),
    st.booleans(),
    st.just(TraceFlags(1)),
    states,
)
events = st.builds(Event, text, attributes, times)
links = st.builds(lambda context, described: Link(_without_state(context), described), contexts, attributes)
statuses = st.one_of(
    st.builds(Status, st.just(StatusCode.ERROR), text),
    st.builds(Status, st.sampled_from([StatusCode.UNSET, StatusCode.OK])),
)
spans = st.builds(
    ReadableSpan,
    text,
    context=contexts,
    parent=st.none() | contexts,
    resource=st.sampled_from([RESOURCE, Resource({"service.name": "other"})]),
    attributes=attributes,
    events=st.lists(events, max_size=2),
    links=st.lists(links, max_size=2),
    kind=st.sampled_from(SpanKind),
    status=statuses,
    start_time=times,
    end_time=times,
    instrumentation_scope=st.sampled_from([SCOPE, InstrumentationScope("other"), None]),
)


def _without_state(context):
    """The SDK's encoder forgets a link's tracestate."""
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


def decoded(batch, encoder=None):
    return ExportTraceServiceRequest.FromString((encoder or encoding.Encoder(ORIGIN)).encode(batch))


@hypothesis.settings(max_examples=50)
@given(st.lists(spans, max_size=4))
def test_any_spans_are_encoded_as_the_sdk_does(batch):
    encoder = encoding.Encoder(ORIGIN)
    assert decoded(batch, encoder) == encode_spans(batch)
    assert decoded(batch, encoder) == encode_spans(batch), "remembered attributes"


def test_spans_of_a_tracer_are_encoded_as_the_sdk_does():
    exported = InMemorySpanExporter()
    limits = SpanLimits(max_attributes=2, max_events=1, max_links=1)
    provider = TracerProvider(resource=RESOURCE, span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    other = SpanContext(1, 2, is_remote=True)
    tracer = provider.get_tracer("kymograph")
    with tracer.start_as_current_span("parent", links=[Link(other, {"n": 1, "o": 2, "p": 3}), Link(other)]) as span:
        span.set_attributes({"a": (1, 2), "b": "x", "c": None, "d": True})
        span.add_event("first")
        span.add_event("second", {"a": 1, "b": 2, "c": 3})
        with tracer.start_as_current_span("child", kind=SpanKind.CLIENT):
            pass
    batch = exported.get_finished_spans()
    assert decoded(batch) == encode_spans(batch)
    dropped = decoded(batch).resource_spans[0].scope_spans[0].spans[1]
    assert (dropped.dropped_attributes_count, dropped.dropped_events_count, dropped.dropped_links_count) == (2, 1, 1)


@pytest.mark.parametrize("policy", ["respect", "link"])
def test_rendered_reviews_are_encoded_as_the_sdk_does(new_recorder, ids, policy):
    """Those that a rule kept, too, and those that link to their caller."""
    parent = propagation.RemoteParent(0xABC << 64 | 1, 0xDEF, sampled=False)
    traces = settings.TraceSettings(parent=settings.ParentPolicy(policy), keep=keeping.Keep(denied=True))
    record = new_recorder(parent=parent, traces=traces)
    record.begin(0, "p", 1010)
    record.begin(1, "r", 1020)
    record.end("fail", "no privileges", 1030)
    record.end("fail", "", 1040)
    record.keep(keeping.DENIED, 5000)
    denial = recorder.Event("kymograph.denied", {"kymograph.message": "no"}, 1050)
    record.finish("admission validate CREATE /Pod", {"admission.response.allowed": False}, 1050, events=[denial])
    spans = rendering.Renderer(lambda _, subject: (subject, {"s": subject}), RESOURCE, SCOPE, ids).render(record)
    assert decoded(spans) == encode_spans(spans)
    server = decoded(spans).resource_spans[0].scope_spans[0].spans[-1]
    assert {attribute.key for attribute in server.attributes} >= {"kymograph.kept_by"}
    assert len(server.links) == (policy == "link")
    assert bool(server.parent_span_id) == (policy == "respect")


def test_a_links_tracestate_is_kept():
    state = TraceState([("vendor", "1")])
    span = ReadableSpan(
        "s",
        context=SpanContext(1, 2, is_remote=False),
        resource=RESOURCE,
        links=[Link(SpanContext(3, 4, is_remote=True, trace_state=state))],
    )
    (link,) = decoded([span]).resource_spans[0].scope_spans[0].spans[0].links
    assert link.trace_state == "vendor=1"


def test_the_memory_of_attributes_is_bounded(monkeypatch):
    monkeypatch.setattr(spanencoding, "_MAX_REMEMBERED", 10)
    encoder = encoding.Encoder(ORIGIN)
    for number in range(100):
        span = ReadableSpan(
            "s", context=SpanContext(1, 2, is_remote=False), resource=RESOURCE, attributes={"n": str(number)}
        )
        assert decoded([span], encoder) == encode_spans([span])
    assert sum(map(len, encoder._spans._remembered.values())) <= 10


@pytest.mark.parametrize(
    ("value", "written"), [("\ud800", "?"), (1 << 63, str(1 << 63)), (-(1 << 64), str(-(1 << 64)))]
)
def test_what_protobuf_cannot_hold_costs_no_span(value, written):
    span = ReadableSpan("s", context=SpanContext(1, 2, is_remote=False), resource=RESOURCE, attributes={"a": value})
    (attribute,) = decoded([span]).resource_spans[0].scope_spans[0].spans[0].attributes
    assert attribute.value.string_value == written
