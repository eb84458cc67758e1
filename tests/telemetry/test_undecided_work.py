"""Work outside of requests that nobody sampled is kept by rules about what became of it, within bounds."""

import asyncio

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from kymograph.telemetry import memory, providers, semconv, settings, undecided

PATIENCE = 30.0


@pytest.fixture
async def telemetry(fake_exporter):
    exporter = fake_exporter()
    made = providers.Telemetry(
        lambda _, subject: (str(subject), {}), facts={}, environ={}, make_exporter=lambda _: exporter
    )
    made.exporter = exporter
    yield made
    await made.shutdown(PATIENCE)


def traces(rate=0, **keep):
    return settings.from_spec({"traces": {"samplingRatePerMillion": rate, "keep": keep}})


async def kept(telemetry):
    """The spans that were exported, by name."""
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    return {span.name: span for span in telemetry.exporter.spans}


def work(telemetry, *, root="", rule="", call="", namespace="shop", policy="p"):
    """A unit of work with a rule and a call below it, some of which fail."""
    tracer = telemetry.tracer_for("background")
    about = {semconv.OBJECT_NAMESPACE: namespace, semconv.POLICY_NAME: policy, semconv.POLICY_NAMESPACE: ""}
    with (
        tracer.start_as_current_span("BACKGROUND generate", attributes=about) as outer,
        tracer.start_as_current_span("RULE r") as inner,
        tracer.start_as_current_span("KUBE get pods", kind=SpanKind.CLIENT) as asked,
    ):
        for span, failure in ((outer, root), (inner, rule), (asked, call)):
            if failure:
                span.set_status(Status(StatusCode.ERROR, failure))
    return outer.get_span_context()


@pytest.mark.parametrize(
    ("keep", "became", "said"),
    [
        ({"errors": True}, {"root": "no"}, "error"),
        ({"errors": True}, {"rule": "no"}, "error"),
        ({"errors": True}, {"call": "no"}, None),
        ({"errors": True}, {}, None),
        ({"policies": ["p"]}, {}, "policy"),
        ({"policies": ["q"]}, {}, None),
        ({"namespaces": ["shop"]}, {}, "namespace"),
        ({"namespaces": ["bank"]}, {}, None),
        ({"denied": True, "slowerThan": "1ns"}, {"root": "no"}, None),
    ],
)
async def test_the_whole_trace_is_kept_or_nothing(telemetry, keep, became, said):
    """The root says by which rule; a call that fails is an error of the work only if the work makes one of it."""
    await telemetry.apply(traces(**keep))
    work(telemetry, **became)
    found = await kept(telemetry)
    assert set(found) == ({"BACKGROUND generate", "RULE r", "KUBE get pods"} if said else set())
    if said:
        root = found["BACKGROUND generate"]
        assert root.attributes[semconv.KEPT_BY] == said
        assert {span.context.trace_id for span in found.values()} == {root.context.trace_id}
        assert semconv.KEPT_BY not in found["RULE r"].attributes


async def test_those_who_are_called_are_told_that_it_is_not_sampled(telemetry):
    await telemetry.apply(traces(errors=True))
    with telemetry.tracer_for("background").start_as_current_span("BACKGROUND generate") as span:
        assert span.is_recording()
        with telemetry.client_spans.start("KUBE get pods", {}) as call:
            assert call.headers["traceparent"].endswith("-00")


async def test_what_is_sampled_says_nothing_of_rules(telemetry):
    await telemetry.apply(traces(rate=1_000_000, errors=True))
    assert work(telemetry, root="no").trace_flags.sampled
    assert semconv.KEPT_BY not in (await kept(telemetry))["BACKGROUND generate"].attributes


async def test_without_such_rules_nothing_is_recorded(telemetry):
    await telemetry.apply(traces(denied=True))
    with telemetry.tracer_for("background").start_as_current_span("BACKGROUND generate") as span:
        assert not span.is_recording()


async def test_a_controller_that_is_off_records_nothing(telemetry):
    await telemetry.apply(
        settings.from_spec({"traces": {"keep": {"errors": True}, "controllers": {"background": {"enabled": False}}}})
    )
    work(telemetry, root="no")
    assert await kept(telemetry) == {}


async def test_a_trace_is_bounded_and_says_what_is_missing(telemetry, monkeypatch):
    monkeypatch.setattr(undecided, "MOST_SPANS", 1)
    await telemetry.apply(traces(errors=True))
    work(telemetry, root="no")
    found = await kept(telemetry)
    assert set(found) == {"KUBE get pods", "BACKGROUND generate"}
    assert found["BACKGROUND generate"].attributes[semconv.STEPS_DROPPED] == 1


async def test_all_of_them_are_bounded_together(telemetry, monkeypatch):
    """Those that have waited longest for their root go on without steps, and say how many are missing."""
    monkeypatch.setattr(undecided, "MOST_TRACES", 3)
    await telemetry.apply(traces(errors=True))
    tracer = telemetry.tracer_for("background")
    roots = []
    for number in range(5):
        with tracer.start_as_current_span(f"root {number}", end_on_exit=False) as root:
            tracer.start_span(f"step {number}").end()
            roots.append(root)
    with trace.use_span(roots[0]):
        tracer.start_span("a later step").end()
    for root in roots:
        root.set_status(Status(StatusCode.ERROR, "no"))
        root.end()
    found = await kept(telemetry)
    assert {name for name in found if "step" in name} == {"step 2", "step 3", "step 4"}
    missing = [found[f"root {number}"].attributes.get(semconv.STEPS_DROPPED) for number in range(5)]
    assert missing == [2, 1, None, None, None]


async def test_what_is_known_of_those_that_were_given_up_is_bounded_too(telemetry, monkeypatch):
    """A root that never ends is not remembered for ever."""
    monkeypatch.setattr(undecided, "MOST_TRACES", 1)
    monkeypatch.setattr(undecided, "MOST_GIVEN_UP", 1)
    await telemetry.apply(traces(errors=True))
    tracer = telemetry.tracer_for("background")
    roots = [tracer.start_span(f"root {number}") for number in range(3)]
    for root in roots:
        with trace.use_span(root):
            tracer.start_span("step").end()
    for root in roots:
        root.set_status(Status(StatusCode.ERROR, "no"))
        root.end()
    found = await kept(telemetry)
    assert [found[root.name].attributes.get(semconv.STEPS_DROPPED) for root in roots] == [None, 1, None]


async def test_what_is_given_up_gives_its_memory_back(telemetry):
    """Whether it was kept or not."""
    await telemetry.apply(traces(errors=True))
    full = memory.Share(0)
    telemetry.undecided_room.limit, before = full.limit, telemetry.undecided_room.limit
    work(telemetry, root="no")
    telemetry.undecided_room.limit = before
    work(telemetry)
    assert telemetry.undecided_room.held == 0
    (root,) = (await kept(telemetry)).values()
    assert root.attributes[semconv.STEPS_DROPPED] == 2
