"""A recorder's log becomes the spans that the request was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, StatusCode

from kymograph.telemetry import propagation, recorder, rendering, semconv, settings

POLICY, RULE, MATCH, CONTEXT, PRECONDITIONS, NEED = range(6)
NAMES = ("POLICY", "RULE", "MATCH", "CONTEXT", "PRECONDITIONS", "NEED")
RESOURCE, SCOPE = Resource({"service.name": "test"}), InstrumentationScope("test")


def describe(step, subject):
    return f"{NAMES[step]} {subject}", {"subject": str(subject)}


@pytest.fixture
def render(ids):
    renderer = rendering.Renderer(describe, RESOURCE, SCOPE, ids)
    return lambda record: {span.name: span for span in renderer.render(record)}


@pytest.mark.parametrize(
    ("parent", "marks"),
    [
        (
            propagation.RemoteParent(0xABC << 64, 0xDEF, sampled=False),
            {semconv.KEPT_BY: "slow", semconv.PARENT_SAMPLED: False},
        ),
        (propagation.RemoteParent(0xABC << 64, 0xDEF, sampled=True), {semconv.KEPT_BY: "slow"}),
        (None, {semconv.KEPT_BY: "slow"}),
    ],
)
def test_the_server_span_of_a_kept_request_says_why(new_recorder, render, parent, marks):
    record = new_recorder(parent=parent)
    record.keep("slow", 5000)
    record.finish("admission", {}, 1100)
    (server,) = render(record).values()
    assert server.attributes == marks


def test_spans_nest_as_the_steps_did_under_the_callers_span(new_recorder, render):
    record = new_recorder()
    record.begin(POLICY, "p", 1010)
    record.begin(RULE, "r", 1020)
    record.begin(MATCH, "r", 1021)
    record.end("matched", "", 1022)
    record.end("pass", "", 1030)
    record.begin(RULE, "s", 1040)
    record.end("skip", "preconditions not met", 1050)
    record.end("pass", "", 1060)
    record.finish("admission validate CREATE /Pod", {"admission.response.allowed": True}, 1100)
    spans = render(record)

    server = spans["admission validate CREATE /Pod"]
    parents = {name: span.parent.span_id for name, span in spans.items()}
    assert parents == {
        server.name: 0xDEF,
        "POLICY p": server.context.span_id,
        "RULE r": spans["POLICY p"].context.span_id,
        "MATCH r": spans["RULE r"].context.span_id,
        "RULE s": spans["POLICY p"].context.span_id,
    }
    assert server.context.span_id == record.decision.span_id
    assert server.parent.is_remote
    assert not spans["POLICY p"].parent.is_remote
    assert {span.context.trace_id for span in spans.values()} == {record.decision.trace_id}
    assert {span.kind for span in spans.values() if span is not server} == {SpanKind.INTERNAL}
    assert server.kind is SpanKind.SERVER
    assert server.attributes == {"admission.response.allowed": True}
    assert spans["RULE s"].attributes == {
        "subject": "s",
        semconv.RULE_RESULT: "skip",
        semconv.MESSAGE: "preconditions not met",
    }
    assert spans["MATCH r"].attributes[semconv.MATCH_RESULT] == "matched"
    assert all(span.resource is RESOURCE and span.instrumentation_scope is SCOPE for span in spans.values())


def test_times_are_the_wall_clocks_at_the_requests_start_plus_what_passed_since(new_recorder, render):
    record = new_recorder(started_ns=1000, wall_ns=5000)
    record.begin(RULE, "r", 1020)
    record.end("pass", "", 1030)
    record.finish("server", {}, 1100)
    spans = render(record)
    assert [(spans[name].start_time, spans[name].end_time) for name in ("server", "RULE r")] == [
        (5000, 5100),
        (5020, 5030),
    ]


@pytest.mark.parametrize("outcome", ["pass", "fail", "skip", "warn", "matched", "true", "ok", "error"])
def test_only_an_error_is_an_error_status(new_recorder, render, outcome):
    record = new_recorder()
    record.begin(RULE, "r", 1)
    record.end(outcome, "why", 2)
    record.finish("server", {}, 3)
    status = render(record)["RULE r"].status
    assert (status.status_code, status.description) == (
        (StatusCode.ERROR, "why") if outcome == "error" else (StatusCode.UNSET, None)
    )


def test_a_violated_rule_is_an_event(new_recorder, render):
    record = new_recorder()
    record.begin(RULE, "r", 1010)
    record.end("fail", "privileged", 1020)
    record.finish("server", {}, 1030)
    (event,) = render(record)["RULE r"].events
    assert (event.name, event.attributes, event.timestamp) == (
        semconv.EVENT_VIOLATION,
        {semconv.MESSAGE: "privileged"},
        5020,
    )


def test_a_denial_is_an_event_on_a_server_span_without_error(new_recorder, render):
    record = new_recorder()
    denied = recorder.Event(semconv.EVENT_DENIED, {semconv.MESSAGE: "no"}, 1040)
    record.finish("server", {semconv.RESPONSE_ALLOWED: False}, 1050, events=[denied])
    server = render(record)["server"]
    assert server.status.status_code is StatusCode.UNSET
    assert [(event.name, event.timestamp) for event in server.events] == [(semconv.EVENT_DENIED, 5040)]


def test_a_failure_on_our_side_is_the_server_spans_error(new_recorder, render):
    record = new_recorder()
    record.finish("server", {}, 1050, error="deadline exceeded")
    assert render(record)["server"].status.description == "deadline exceeded"


def test_a_client_span_has_the_id_that_was_sent_and_hangs_under_the_open_step(new_recorder, render):
    record = new_recorder()
    record.begin(NEED, "configmap", 1010)
    sent = record.client_begin("KUBE get configmaps", {"kube.client.kind": "ConfigMap"}, 1011)
    header = record.headers(sent)["traceparent"]
    record.client_end(sent, {"http.response.status_code": 503}, "HTTP 503", 1015)
    record.end("ok", "", 1020)
    record.finish("server", {}, 1100)
    spans = render(record)
    client = spans["KUBE get configmaps"]
    assert propagation.parse(header).span_id == client.context.span_id
    assert client.parent.span_id == spans["NEED configmap"].context.span_id
    assert (client.kind, client.status.description) == (SpanKind.CLIENT, "HTTP 503")
    assert client.attributes == {"kube.client.kind": "ConfigMap", "http.response.status_code": 503}


def test_calls_at_the_same_time_and_calls_within_calls_keep_their_parents(new_recorder, render):
    record = new_recorder()
    verify = record.client_begin("VERIFY", {}, 1001)
    one = record.client_begin("HTTP a", {}, 1002, parent_id=verify)
    other = record.client_begin("HTTP b", {}, 1003, parent_id=verify)
    record.client_end(one, {}, "", 1004)
    record.client_end(other, {}, "", 1005)
    record.client_end(verify, {}, "", 1006)
    record.finish("server", {}, 1100)
    spans = render(record)
    assert {spans["HTTP a"].parent.span_id, spans["HTTP b"].parent.span_id} == {verify}
    assert spans["VERIFY"].parent.span_id == spans["server"].context.span_id


def test_what_was_left_open_ends_with_the_request(new_recorder, render):
    """A deadline can abandon an evaluation between a begin and its end."""
    record = new_recorder()
    record.begin(POLICY, "p", 1010)
    record.begin(RULE, "r", 1020)
    record.client_begin("HTTP GET", {}, 1030)
    record.finish("server", {}, 1100, error="deadline exceeded")
    spans = render(record)
    assert {span.end_time for span in spans.values()} == {5100}
    assert len(spans) == 4


def test_a_link_points_at_the_caller_of_a_trace_of_its_own(new_recorder, render):
    parent = propagation.RemoteParent(9, 8, sampled=True, tracestate="a=1")
    traces = settings.TraceSettings(sampling_rate_per_million=1_000_000, parent=settings.ParentPolicy.LINK)
    record = new_recorder(parent, traces)
    record.finish("server", {}, 1100)
    server = render(record)["server"]
    (link,) = server.links
    assert server.parent is None
    assert (link.context.trace_id, link.context.span_id, link.context.is_remote) == (9, 8, True)
    assert link.context.trace_state.to_header() == "a=1"


def test_the_callers_tracestate_is_on_every_span(new_recorder, render):
    record = new_recorder(propagation.RemoteParent(9, 8, sampled=True, tracestate="a=1,b=2"))
    record.begin(RULE, "r", 1)
    record.end("pass", "", 2)
    record.finish("server", {}, 3)
    assert {span.context.trace_state.to_header() for span in render(record).values()} == {"a=1,b=2"}


def test_a_recorder_that_never_finished_has_no_spans(new_recorder, render):
    record = new_recorder()
    record.begin(RULE, "r", 1)
    assert render(record) == {}


def test_a_log_that_is_full_keeps_its_nesting_and_counts_what_is_missing(new_recorder, render, monkeypatch):
    monkeypatch.setattr(recorder, "MAX_ENTRIES", 4)
    record = new_recorder()
    record.begin(POLICY, "p", 1)
    for number in range(10):
        record.begin(RULE, number, 2)
        record.begin(MATCH, number, 3)
        record.end("matched", "", 4)
        record.end("pass", "", 5)
    record.end("fail", "", 6)
    record.finish("server", {}, 7)
    spans = render(record)
    assert spans["POLICY p"].attributes[semconv.POLICY_RESULT] == "fail"
    assert len(spans) - 2 + spans["server"].attributes[semconv.STEPS_DROPPED] == 20
    assert len(spans) <= record.span_count


@st.composite
def logs(draw):
    """Random strictly nested steps: how deep to go before each end."""
    return draw(st.lists(st.integers(0, 3), max_size=30))


@given(logs())
def test_every_step_is_one_span_and_all_form_one_tree(depths):
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    from kymograph.telemetry import sampling

    ids = RandomIdGenerator()
    record = recorder.Recorder(
        sampling.decide(settings.TraceSettings(sampling_rate_per_million=1_000_000), None, ids), 0, 0, ids
    )
    now = steps = 0
    for depth in depths:
        for _ in range(depth):
            record.begin(RULE, steps, now := now + 1)
            steps += 1
        for _ in range(depth):
            record.end("pass", "", now := now + 1)
    record.finish("server", {}, now + 1)
    spans = rendering.Renderer(describe, RESOURCE, SCOPE, ids).render(record)
    by_id = {span.context.span_id: span for span in spans}
    assert len(by_id) == len(spans) == steps + 1 == record.span_count
    for span in spans[:-1]:
        parent = by_id[span.parent.span_id]
        assert parent.start_time <= span.start_time <= span.end_time <= parent.end_time


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("short", 10, "short"),
        ("exactly ten", 11, "exactly ten"),
        ("a long ascii text", 10, "a long ..."),
        ("äöü", 6, "äöü"),
        ("ääääää", 8, "ää..."),
        ("日本語日本語", 10, "日本..."),
        ("\ud800 lone", 64, "? lone"),
    ],
)
def test_strings_are_cut_between_characters(text, limit, cut):
    assert rendering.bounded(text, limit) == cut


def test_sequences_are_cut_and_each_of_their_strings():
    assert rendering.bounded_values({"warnings": ("x" * 2_000,) * 100, "n": 1}) == {
        "warnings": ("x" * 1_021 + "...",) * rendering.MAX_ATTRIBUTE_ITEMS,
        "n": 1,
    }


@given(st.text(max_size=60), st.integers(8, 40))
def test_a_cut_string_is_valid_and_within_the_limit(text, limit):
    cut = rendering.bounded(text, limit)
    assert len(cut.encode()) <= limit
    assert cut == text or cut.endswith("...") or "?" in cut
