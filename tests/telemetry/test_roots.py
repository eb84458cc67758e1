"""Work that no request waits for is a trace of its own, linked to its cause, and says alike how it failed."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from kymograph.telemetry import current, recorder, roots, sampling, semconv, settings


def test_it_is_a_root_whatever_goes_on_and_the_current_span_within(tracer, exported):
    """Linked to those causes that are known."""
    with tracer.start_as_current_span("request"):
        cause = roots.cause()
        with roots.root(tracer, "WORK done", {"a": "x" * 2_000}, (cause, None)), tracer.start_as_current_span("step"):
            pass
    step, work, request = exported.get_finished_spans()
    assert work.parent is None
    assert step.parent.span_id == work.context.span_id
    assert [link.context.span_id for link in work.links] == [request.context.span_id]
    assert len(work.attributes["a"]) == 1_024


def test_a_failure_is_said_once_and_in_short_and_goes_on(tracer, exported):
    """Without the stack, which has values in it."""
    with pytest.raises(OSError, match="no"), roots.root(tracer, "WORK done"):
        raise OSError("no " + "x" * 2_000 + " Bearer secret")
    (work,) = exported.get_finished_spans()
    (event,) = work.events
    assert (event.name, set(event.attributes)) == ("exception", {"exception.type", "exception.message"})
    assert work.attributes[semconv.ERROR_TYPE] == event.attributes["exception.type"] == "OSError"
    assert work.status.description == event.attributes["exception.message"]
    assert len(work.status.description) == 1_024
    assert "secret" not in work.to_json()


def test_the_cause_is_the_review_the_call_or_the_span_that_is_going_on(tracer, new_recorder):
    """And nothing where that is not kept: a link would lead nowhere."""
    assert roots.cause() is None
    with TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("x").start_as_current_span("unsampled"):
        assert roots.cause() is None
    record = new_recorder()
    with current.serving(record):
        assert roots.cause().span_id == record.decision.span_id
    assert roots.of(record.decision).trace_id == record.decision.trace_id


def test_a_review_that_is_not_kept_is_no_cause(ids):
    decision = sampling.decide(settings.TraceSettings(sampling_rate_per_million=0), None, ids)
    assert roots.of(decision) is None
    assert recorder.Recorder(decision, 0, 0, ids).recording is False
