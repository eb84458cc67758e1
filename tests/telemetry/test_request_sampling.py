"""Which requests are traced, and what those we call are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from kymograph.telemetry import propagation, sampling, settings

ALL, NONE = 1_000_000, 0
SAMPLED = propagation.RemoteParent(11 << 64, 22, sampled=True, tracestate="a=1")
UNSAMPLED = propagation.RemoteParent(11 << 64, 22, sampled=False)


@pytest.mark.parametrize(("parent", "rate"), [(SAMPLED, NONE), (SAMPLED, ALL), (UNSAMPLED, NONE), (UNSAMPLED, ALL)])
def test_a_respected_parent_is_followed_whatever_the_rate(ids, parent, rate):
    decision = sampling.decide(settings.TraceSettings(sampling_rate_per_million=rate), parent, ids)
    assert (decision.trace_id, decision.parent_span_id, decision.link) == (parent.trace_id, parent.span_id, None)
    assert decision.sampled is decision.recorded is parent.sampled
    assert decision.span_id not in {0, parent.span_id}
    assert decision.tracestate == parent.tracestate


@pytest.mark.parametrize(("rate", "sampled"), [(NONE, False), (ALL, True)])
@pytest.mark.parametrize(
    ("policy", "parent", "link"),
    [
        ("respect", None, None),
        ("link", SAMPLED, SAMPLED),
        ("link", UNSAMPLED, UNSAMPLED),
        ("link", None, None),
        ("ignore", SAMPLED, None),
        ("ignore", UNSAMPLED, None),
    ],
)
def test_a_root_is_sampled_at_the_rate(ids, policy, parent, link, rate, sampled):
    traces = settings.TraceSettings(sampling_rate_per_million=rate, parent=settings.ParentPolicy(policy))
    decision = sampling.decide(traces, parent, ids)
    assert decision.sampled is decision.recorded is sampled
    assert (decision.parent_span_id, decision.link, decision.tracestate) == (None, link, "")
    assert decision.trace_id != SAMPLED.trace_id


def test_with_nothing_exported_the_callers_trace_stays_whole_without_us(ids):
    decision = sampling.decide(None, SAMPLED, ids)
    assert (decision.trace_id, decision.span_id) == (SAMPLED.trace_id, SAMPLED.span_id)
    assert (decision.sampled, decision.recorded, decision.tracestate) == (True, False, "a=1")


def test_with_nothing_exported_and_no_caller_a_request_still_has_a_trace_id(ids):
    decision = sampling.decide(None, None, ids)
    assert decision.trace_id
    assert decision.span_id
    assert not decision.sampled
    assert not decision.recorded


@given(st.integers(1, (1 << 128) - 1), st.sampled_from([0, 1, 100, 250_000, 500_000, 999_999, 1_000_000]))
def test_the_rate_decides_by_the_trace_id_as_the_sdks_do(trace_id, rate):
    theirs = TraceIdRatioBased(rate / 1_000_000).should_sample(None, trace_id, "any")
    boundary = abs((trace_id & (1 << 64) - 1) - (rate << 64) // 1_000_000)
    if boundary > 1 << 13:  # their rate is a float: 53 bits
        assert sampling.is_within_rate(trace_id, rate) is (theirs.decision is Decision.RECORD_AND_SAMPLE)


@given(st.integers(1, (1 << 128) - 1), st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_what_a_lower_rate_samples_a_higher_one_samples_too(trace_id, one, other):
    lower, higher = sorted((one, other))
    assert sampling.is_within_rate(trace_id, lower) <= sampling.is_within_rate(trace_id, higher)


def _context(*, sampled):
    flags = trace.TraceFlags(1 if sampled else 0)
    span = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False, trace_flags=flags))
    return trace.set_span_in_context(span)


@pytest.mark.parametrize(
    ("traces", "parent", "sampled"),
    [
        (settings.TraceSettings(sampling_rate_per_million=NONE), _context(sampled=True), True),
        (settings.TraceSettings(sampling_rate_per_million=ALL), _context(sampled=False), False),
        (settings.TraceSettings(sampling_rate_per_million=ALL), None, True),
        (settings.TraceSettings(sampling_rate_per_million=NONE), None, False),
        (None, _context(sampled=True), False),
        (None, None, False),
    ],
)
def test_the_shared_providers_sampler_reads_the_settings_in_force(traces, parent, sampled):
    in_force = settings.TraceSettings(sampling_rate_per_million=ALL)
    sampler = sampling.LiveSampler(lambda: in_force)
    assert sampler.should_sample(None, 1 << 64, "root").decision is Decision.RECORD_AND_SAMPLE
    in_force = traces
    result = sampler.should_sample(parent, 1 << 64, "any", attributes={"a": 1})
    assert (result.decision is Decision.RECORD_AND_SAMPLE) is sampled
    assert dict(result.attributes) == ({"a": 1} if sampled else {})
