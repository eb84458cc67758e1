"""A recorded request that is written straight from its log is read by a receiver as its spans would be."""

import itertools

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

from kymograph.telemetry import (
    encoding,
    keeping,
    nesting,
    propagation,
    recordencoding,
    recorder,
    rendering,
    sampling,
    semconv,
    settings,
    templates,
)

RULE = 1
RESOURCE = Resource({"service.name": "kymograph"})
SCOPE = InstrumentationScope("kymograph", "1.2")
ORIGIN = encoding.Origin(RESOURCE, SCOPE)
ALWAYS = settings.TraceSettings(sampling_rate_per_million=1_000_000)
LINKED = settings.TraceSettings(sampling_rate_per_million=1_000_000, parent=settings.ParentPolicy.LINK)

valid = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
anything = st.one_of(
    st.text(max_size=40), st.just("\ud800"), st.integers(1, 2_000).map("ä".__mul__), st.just("x" * 9_000)
)
values = st.one_of(anything, st.booleans(), st.integers(-(1 << 63), (1 << 63) - 1), st.tuples(anything, valid))
attributes = st.dictionaries(valid.filter(bool), values, max_size=4)
outcomes = st.sampled_from(["pass", "fail", "skip", "error", "warn", "matched", "true", "ok"])
details = st.one_of(st.just(""), st.sampled_from(["validation rule 'r' passed.", "no"]), anything)
subjects = st.sampled_from(["a", "b", "ü" * 500])
parents = st.one_of(
    st.none(),
    st.builds(
        propagation.RemoteParent,
        st.integers(1, (1 << 128) - 1),
        st.integers(1, (1 << 64) - 1),
        st.booleans(),
        st.sampled_from(["", "a=1,b=2"]),
    ),
)
moves = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, 5), subjects),
    st.tuples(st.just("end"), outcomes, details),
    st.tuples(st.just("short"), subjects, outcomes, details, st.sampled_from(["matched", "excluded", "error"])),
    st.tuples(st.just("conditioned"), subjects, outcomes, details, st.sampled_from(["true", "error"]), details),
    st.tuples(st.just("policy"), subjects, outcomes, st.lists(st.tuples(subjects, outcomes, details), max_size=3)),
    st.tuples(st.just("call"), valid, attributes, st.integers(0, 3)),
    st.tuples(st.just("answer"), st.integers(0, 3), attributes, anything),
)


class CountedIds(IdGenerator):
    """Ids from 1."""

    def __init__(self):
        self._ids = itertools.count(1)

    def generate_span_id(self):
        return next(self._ids)

    generate_trace_id = generate_span_id


class OneId(CountedIds):
    """The same id for the steps of every trace."""

    def generate_span_id(self):
        return 0x1234_5678


def describe(step, subject):
    """A step that says something of its own, and something too long."""
    return f"{step} {subject}", {"subject": subject, "lone": "\udfff", "number": step}


def policy_in_short(subject, outcome, rules, now):
    """The entry of a policy, whose rules take two nanoseconds each, the match of the first of them one."""
    times = itertools.count(now, 2)
    results = tuple((*rule, "Enforce", began, began + 2, {}, None) for rule, began in zip(rules, times, strict=False))
    return subject, outcome, now, now + 1, now + 2 * len(rules) + 1, results


@st.composite
def records(draw):
    """Finished recorders: any moves, in which only what is open is ended; some steps and calls stay open."""
    ids = CountedIds()
    decision = sampling.decide(draw(st.sampled_from([ALWAYS, LINKED])), draw(parents), ids)
    record = recorder.Recorder(decision, 1_000, draw(st.integers(0, 1 << 62)), ids)
    depth, now, calls = 0, 1_000, []
    for move, *given_ in draw(st.lists(moves, max_size=25)):
        now += draw(st.integers(0, 1 << 40))
        if move == "begin":
            record.begin(*given_, now)
            depth += 1
        elif move == "end" and depth:
            record.end(*given_, now)
            depth -= 1
        elif move == "short":
            subject, outcome, detail, match = given_
            record.extend([(subject, outcome, detail, now, now + 1, now + 2, match)])
        elif move == "conditioned":
            subject, outcome, detail, met, why = given_
            record.extend([(subject, outcome, detail, now, now + 1, now + 3, "matched", now + 2, met, why)])
        elif move == "policy":
            record.extend([policy_in_short(*given_, now)])
        elif move == "call":
            name, described, around = given_
            calls.append(record.client_begin(name, described, now, calls[around] if around < len(calls) else 0))
        elif move == "answer" and given_[0] < len(calls):
            record.client_end(calls[given_[0]], *given_[1:], now)
    if draw(st.booleans()):
        record.keep(keeping.DENIED, record.wall_ns)
    record.dropped = draw(st.integers(0, 3))
    events = draw(st.lists(st.builds(recorder.Event, valid, attributes, st.just(now)), max_size=2))
    record.finish(draw(valid), draw(attributes), now + 1, error=draw(anything), events=events)
    return record


def decoded(spans):
    return ExportTraceServiceRequest.FromString(encoding.Encoder(ORIGIN).encode(spans))


def rendered(record):
    return rendering.Renderer(describe, RESOURCE, SCOPE, OneId()).render(record)


@pytest.fixture(scope="module")
def encoder():
    """One for all examples, so that templates of earlier ones are used."""
    return recordencoding.RecordEncoder(describe, ORIGIN, OneId())


@hypothesis.settings(max_examples=100)
@given(st.lists(records(), min_size=1, max_size=2))
def test_any_request_is_written_as_the_sdk_writes_its_spans(encoder, given_records):
    ours = decoded([span for record in given_records for span in encoder.encode(record)])
    for span in spans_of(ours):
        for link in span.links:
            link.ClearField("trace_state")  # which the SDK's encoder forgets
    assert ours == encode_spans([span for record in given_records for span in rendered(record)])


def test_an_entry_in_short_is_read_as_the_steps_that_it_stands_for(new_recorder):
    policy = policy_in_short("p", "fail", [("r", "pass", "fine"), ("s", "fail", "no")], 1_000)
    short, whole = new_recorder(), new_recorder()
    whole.decision = short.decision
    rules = ("t", "skip", "", 1_010, 1_011, 1_012, "excluded"), ("u", "pass", "", 5, 6, 9, "matched", 8, "true", "met")
    short.extend([policy, *rules])
    for head, body, now in recorder.written_out(short.log):
        if isinstance(head, str):
            whole.end(head, body, now)
        else:
            whole.begin(head, body, now)
    assert (len(short.log), len(whole.log)) == (3, 20)
    assert short.span_count == whole.span_count == 11
    steps, _ = nesting.read(short, 6_000, 1)
    assert (steps, []) == nesting.read(whole, 6_000, 1)
    matches = {subject: end - start for _, _, code, subject, _, _, start, end in steps if code == recorder.MATCH}
    assert matches == {"r": 1, "s": 0, "t": 1, "u": 1}


def finished(new_recorder, *steps):
    record = new_recorder()
    for number, (outcome, detail) in enumerate(steps):
        record.begin(RULE, "r", 1_000 + number)
        record.end(outcome, detail, 1_001 + number)
    record.finish("server", {}, 2_000)
    return record


def spans_of(request):
    (resource,) = request.resource_spans
    (scope,) = resource.scope_spans
    return scope.spans


def test_traces_of_a_batch_share_resource_and_scope_with_each_other_and_with_spans_of_the_sdk(encoder, new_recorder):
    batch = [*encoder.encode(finished(new_recorder, ("pass", ""))), *encoder.encode(finished(new_recorder))]
    other = ReadableSpan(
        "by a tracer", context=SpanContext(1, 2, is_remote=False), resource=RESOURCE, instrumentation_scope=SCOPE
    )
    spans = spans_of(decoded([batch[0], other, *batch[1:]]))
    assert [span.name for span in spans] == ["1 r", "server", "server", "by a tracer"]


def test_the_resource_is_that_of_the_moment_of_the_export(encoder, new_recorder):
    batch = encoder.encode(finished(new_recorder))
    renamed = encoding.Encoder(encoding.Origin(Resource({"service.name": "renamed"}), SCOPE)).encode(batch)
    (resource,) = ExportTraceServiceRequest.FromString(renamed).resource_spans
    assert [attribute.value.string_value for attribute in resource.resource.attributes] == ["renamed"]


def test_what_a_template_remembers_is_never_told_of_another_outcome_or_moment(encoder, new_recorder):
    told = [("fail", "no"), ("pass", "no"), ("fail", "no"), ("error", "no"), ("error", ""), ("error", "no")]
    *steps, _ = spans_of(decoded(encoder.encode(finished(new_recorder, *told))))
    results = [{each.key: each.value.string_value for each in step.attributes} for step in steps]
    assert [(each[semconv.RULE_RESULT], each.get(semconv.MESSAGE, "")) for each in results] == told
    assert [step.status.code == trace_pb2.Status.STATUS_CODE_ERROR for step in steps] == [*[False] * 3, *[True] * 3]
    assert [[event.time_unix_nano for event in step.events] for step in steps] == [[5_001], [], [5_003], [], [], []]


def test_a_subject_whose_name_no_utf8_can_hold_costs_no_span(new_recorder):
    encoder = recordencoding.RecordEncoder(lambda _, subject: (f"RULE {subject}\ud800", {}), ORIGIN, OneId())
    step, _ = spans_of(decoded(encoder.encode(finished(new_recorder, ("pass", "")))))
    assert step.name == "RULE r?"


def test_a_recorder_that_never_finished_has_no_spans(encoder, new_recorder):
    assert encoder.encode(new_recorder()) == []


def test_the_memory_of_templates_is_bounded(monkeypatch):
    monkeypatch.setattr(templates, "MAX_BYTES", 10_000)
    made = templates.Templates(describe)
    for number in range(100):
        made.make(str(number), RULE, "pass").saying("x" * 10_000, 1)
    assert len(made._recent) + len(made._older) <= 20
    assert all(template.last == (None, b"") for template in made._recent.values()), "of long messages, none is kept"


def test_needs_are_not_held_on_to():
    made = templates.Templates(describe)
    made.make("GET /a/large/question", recorder.NEED, "ok")
    assert not made._recent


def test_policies_that_no_recent_trace_used_are_let_go_of(monkeypatch):
    """Compiled policies are large; one that was replaced is not to live for as long as the process."""
    monkeypatch.setattr(templates, "GENERATION", 3)
    made = templates.Templates(describe)
    made.make("replaced", RULE, "pass")
    for _ in range(6):
        if made.begin()(("in use", RULE, "pass")) is None:
            made.make("in use", RULE, "pass")
    assert {key[0] for key in (*made._recent, *made._older)} == {"in use"}


@given(st.integers(1, (1 << 64) - 1), st.integers(0, 50))
def test_ids_of_steps_are_unlike_each_other_and_never_zero(first, count):
    record = recorder.Recorder(sampling.decide(ALWAYS, None, OneId()), 0, 0, OneId())
    record.extend([("r", "pass", "", 1, 2, 3, "matched"), policy_in_short("p", "pass", [("r", "pass", "")], 1)] * count)
    steps, _ = nesting.read(record, 4, first)
    ids = [step[0] for step in steps]
    assert len(set(ids)) == 5 * count == record.span_count - 1
    assert all(0 < each < 1 << 64 for each in ids)
    assert len({each >> 32 for each in ids}) == len(ids), "the half that is shown in short"
