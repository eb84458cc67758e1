"""A client's call has a span and headers, within a request and outside of one."""

import asyncio
import itertools

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode

from kymograph.telemetry import current, propagation, propagators, recorder, semconv, settings


@pytest.fixture
def exported():
    return InMemorySpanExporter()


@pytest.fixture
def tracer_of(exported):
    def make(sampler=ALWAYS_ON):
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exported))
        return provider.get_tracer("test")

    return make


@pytest.fixture
def client_spans(tracer_of):
    ticks = itertools.count(1000)
    return current.ClientSpans(tracer_of(), lambda: next(ticks))


async def test_looks_that_repeat_make_no_spans(exported, client_spans):
    with current.untraced(), client_spans.start("KUBE get secrets", {}) as call:
        call.set_status(200)
        assert call.headers == {}
    with client_spans.start("KUBE get pods", {}):
        pass
    assert [span.name for span in exported.get_finished_spans()] == ["KUBE get pods"]


def test_a_log_record_belongs_to_the_review_being_served(client_spans, tracer_of, new_recorder):
    """To the call within it, to the review around that, else to the current span."""
    record = new_recorder()
    assert current.context() is None
    with tracer_of().start_as_current_span("work") as span:
        context = span.get_span_context()
        assert current.context() == (context.trace_id, context.span_id)
        with current.serving(record):
            assert current.context() == (record.decision.trace_id, record.decision.span_id)
            with client_spans.start("HTTP GET", {}) as call:
                parent = propagation.parse(**call.headers)
                assert current.context() == (record.decision.trace_id, parent.span_id)


def calls(record):
    """The client spans of a recorder: what began by id, and how it ended."""
    began = {body.span_id: body for _, body, _ in record.log if isinstance(body, recorder.ClientBegin)}
    ended = {body.span_id: body for _, body, _ in record.log if isinstance(body, recorder.ClientEnd)}
    assert began.keys() == ended.keys()
    return began, ended


def test_within_a_request_the_call_is_recorded_and_its_id_is_sent(client_spans, exported, new_recorder):
    record = new_recorder()
    with current.serving(record), client_spans.start("HTTP GET", {"url.full": "https://a"}) as call:
        call.set_status(200)
    began, ended = calls(record)
    (span_id,) = began
    assert propagation.parse(**call.headers).span_id == span_id
    assert (began[span_id].name, began[span_id].attributes) == ("HTTP GET", {"url.full": "https://a"})
    assert (ended[span_id].attributes, ended[span_id].error) == ({semconv.HTTP_RESPONSE_STATUS_CODE: 200}, "")
    assert exported.get_finished_spans() == ()


def test_a_request_that_is_not_recorded_still_tells_those_it_calls(client_spans, new_recorder):
    record = new_recorder(traces=settings.TraceSettings(sampling_rate_per_million=0), parent=None)
    with current.serving(record), client_spans.start("HTTP GET", {}) as call:
        call.set_status(200)
    assert call.headers == {"traceparent": record.traceparent}
    assert call.headers["traceparent"].endswith("-00")
    assert record.log == []


async def test_calls_within_calls_and_side_by_side_keep_their_parents(client_spans, new_recorder):
    record = new_recorder()

    async def fetch(name):
        with client_spans.start(name, {}):
            await asyncio.sleep(0)

    with current.serving(record):
        with client_spans.start("VERIFY", {}):
            await asyncio.gather(fetch("a"), fetch("b"))
        await fetch("c")
    began, _ = calls(record)
    by_name = {body.name: body for body in began.values()}
    assert {by_name["a"].parent_id, by_name["b"].parent_id} == {by_name["VERIFY"].span_id}
    assert by_name["VERIFY"].parent_id == by_name["c"].parent_id == 0


@pytest.mark.parametrize(
    ("status", "attributes", "error"),
    [
        (399, {semconv.HTTP_RESPONSE_STATUS_CODE: 399}, ""),
        (404, {semconv.HTTP_RESPONSE_STATUS_CODE: 404, semconv.ERROR_TYPE: "404"}, "HTTP 404"),
        (503, {semconv.HTTP_RESPONSE_STATUS_CODE: 503, semconv.ERROR_TYPE: "503"}, "HTTP 503"),
    ],
)
def test_a_status_of_400_and_above_is_an_error_either_way(
    client_spans, exported, new_recorder, status, attributes, error
):
    record = new_recorder()
    with current.serving(record), client_spans.start("HTTP GET", {}) as call:
        call.set_status(status)
    (recorded,) = calls(record)[1].values()
    with client_spans.start("HTTP GET", {}) as call:
        call.set_status(status)
    (traced,) = exported.get_finished_spans()
    assert recorded.attributes == traced.attributes == attributes
    assert recorded.error == (traced.status.description or "") == error
    assert traced.status.is_unset is not bool(error)


def test_an_answer_that_was_reckoned_with_is_no_error_whatever_is_made_of_it(client_spans, exported, new_recorder):
    """Of a client that raises where there is no such object."""

    def look():
        with client_spans.start("KUBE get pods", {}) as call:
            call.set_status(404, expected=True)
            raise LookupError

    record = new_recorder()
    with pytest.raises(LookupError), current.serving(record):
        look()
    with pytest.raises(LookupError):
        look()
    (recorded,) = calls(record)[1].values()
    (traced,) = exported.get_finished_spans()
    assert recorded.attributes == traced.attributes == {semconv.HTTP_RESPONSE_STATUS_CODE: 404}
    assert recorded.error == ""
    assert traced.status.is_unset


@pytest.mark.parametrize("failure", [TimeoutError("too slow"), asyncio.CancelledError()])
def test_an_exception_that_leaves_the_call_is_its_error_and_goes_on(client_spans, exported, new_recorder, failure):
    record = new_recorder()
    with pytest.raises(type(failure)), current.serving(record), client_spans.start("HTTP GET", {}):
        raise failure
    (recorded,) = calls(record)[1].values()
    with pytest.raises(type(failure)), client_spans.start("HTTP GET", {}):
        raise failure
    (traced,) = exported.get_finished_spans()
    assert recorded.error == traced.status.description == (str(failure) or "CancelledError")
    assert traced.status.status_code is StatusCode.ERROR
    assert recorded.attributes == traced.attributes == {semconv.ERROR_TYPE: type(failure).__name__}


def test_outside_a_request_the_call_is_a_client_span_under_the_current_one(client_spans, tracer_of, exported):
    with tracer_of().start_as_current_span("background") as background, client_spans.start("KUBE get", {}) as call:
        assert propagation.parse(**call.headers).trace_id == background.get_span_context().trace_id
    span = exported.get_finished_spans()[0]
    assert (span.name, span.kind) == ("KUBE get", SpanKind.CLIENT)
    assert span.parent.span_id == background.get_span_context().span_id
    assert propagation.parse(**call.headers) == propagation.RemoteParent(
        span.context.trace_id, span.context.span_id, sampled=True
    )


def test_outside_a_request_and_not_sampled_the_call_still_sends_a_header(tracer_of, exported):
    with current.ClientSpans(tracer_of(ALWAYS_OFF), lambda: 0).start("KUBE get", {}) as call:
        call.set_status(200)
    assert not propagation.parse(**call.headers).sampled
    assert exported.get_finished_spans() == ()


def test_after_the_request_calls_are_no_longer_part_of_it(client_spans, exported, new_recorder):
    record = new_recorder()
    with current.serving(record):
        pass
    with client_spans.start("HTTP GET", {}):
        pass
    assert record.log == []
    assert len(exported.get_finished_spans()) == 1


@pytest.mark.parametrize(
    ("forms", "fields"),
    [
        (propagators.DEFAULT, {"traceparent"}),
        ((propagators.Propagator.B3,), {"b3"}),
        ((propagators.Propagator.B3_MULTI,), {"X-B3-TraceId", "X-B3-SpanId", "X-B3-Sampled"}),
        ((), set()),
    ],
)
def test_outside_a_request_those_we_call_are_told_in_the_forms_of_the_moment(tracer_of, forms, fields):
    """Live: the client is made once."""
    made = [propagators.W3C]
    client_spans = current.ClientSpans(tracer_of(), lambda: 0, forms=lambda: made[0])
    made[0] = propagators.Propagators(forms)
    with client_spans.start("KUBE get", {}) as call:
        assert set(call.headers) == fields
