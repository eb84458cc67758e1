"""What a request under way knows and says about itself."""

import pytest

from kymograph.telemetry import propagation, recorder, settings

NOTHING = settings.TraceSettings(sampling_rate_per_million=0)
CALLER = propagation.RemoteParent(7 << 64, 9, sampled=False, tracestate="a=1")


def test_the_answer_carries_the_server_span_and_its_flag(new_recorder):
    record = new_recorder()
    sent = propagation.parse(record.traceparent)
    assert (sent.trace_id, sent.span_id, sent.sampled) == (record.decision.trace_id, record.decision.span_id, True)


def test_a_call_carries_the_client_span_and_the_callers_tracestate(new_recorder):
    record = new_recorder(CALLER, NOTHING)
    headers = record.headers(5)
    assert propagation.parse(**headers) == propagation.RemoteParent(7 << 64, 5, sampled=False, tracestate="a=1")


@pytest.mark.parametrize(("parent", "recording"), [(CALLER, False), (None, False)])
def test_nobody_looks_at_the_steps_of_a_request_that_is_not_sampled(new_recorder, parent, recording):
    assert new_recorder(parent, NOTHING).recording is recording


def test_recording_copies_nothing(new_recorder):
    record, policy = new_recorder(), object()
    record.begin(0, policy, 1)
    assert record.log[0][1] is policy


def test_client_spans_past_the_limit_still_get_an_id_to_send(new_recorder, monkeypatch):
    monkeypatch.setattr(recorder, "MAX_ENTRIES", 0)
    record = new_recorder()
    assert record.client_begin("HTTP GET", {}, 1)
    assert record.dropped == 1
