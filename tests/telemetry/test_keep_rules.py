"""A request that nobody sampled keeps our spans when a rule says so, and nobody else is told."""

import asyncio
import itertools

import pytest

from kymograph.telemetry import errors, keeping, providers, semconv, settings
from support import scraped

UNSAMPLED = f"00-{7:032x}-{9:016x}-00"
SAMPLED = f"00-{7:032x}-{9:016x}-01"
PATIENCE = 30.0
ALL = {
    "denied": True,
    "errors": True,
    "slowerThan": "500ms",
    "policies": ["no-privileges", "shop/limits"],
    "namespaces": ["payments"],
}
QUIET = {"denied": False, "failed": lambda: False, "elapsed_ns": 1, "namespace": "", "policies": tuple}


def unasked():
    raise AssertionError("no rule wants to know")


@pytest.mark.parametrize(
    ("turned_out", "rule"),
    [
        ({}, ""),
        ({"denied": True}, keeping.DENIED),
        ({"failed": lambda: True}, keeping.ERROR),
        ({"elapsed_ns": 500_000_001}, keeping.SLOW),
        ({"elapsed_ns": 500_000_000}, ""),
        ({"policies": lambda: ["other", "no-privileges"]}, keeping.POLICY),
        ({"policies": lambda: ["shop/limits"]}, keeping.POLICY),
        ({"policies": lambda: ["limits", "shop/no-privileges"]}, ""),
        ({"namespace": "payments"}, keeping.NAMESPACE),
        ({"namespace": "payments", "denied": True, "failed": lambda: True}, keeping.DENIED),
    ],
)
def test_the_first_rule_that_applies_is_named(turned_out, rule):
    keep = keeping.from_spec(ALL, "traces.keep")
    assert keep
    assert keep.rule(**{**QUIET, **turned_out}) == rule


def test_what_no_rule_is_about_is_not_asked():
    keep = keeping.from_spec({"denied": True}, "traces.keep")
    assert keep.rule(denied=False, failed=unasked, elapsed_ns=1, namespace="", policies=unasked) == ""


@pytest.mark.parametrize("written", ["fast", "0s", "-1s", "5", ""])
def test_a_limit_that_is_no_positive_duration_is_refused(written):
    with pytest.raises(errors.SettingsInvalid) as refused:
        keeping.from_spec({"slowerThan": written}, "traces.keep")
    assert refused.value.path == "traces.keep.slowerThan"


@pytest.fixture
def callers_known():
    return False


@pytest.fixture
async def telemetry(fake_exporter, ids, callers_known):
    ticks = itertools.count(1_000)
    exporter = fake_exporter()
    made = providers.Telemetry(
        lambda _, subject: (f"RULE {subject}", {}),
        facts={},
        environ={},
        make_exporter=lambda _: exporter,
        callers_known=callers_known,
        ids=ids,
        clock=lambda: next(ticks),
        wall_clock=lambda: 1_000_000,
    )
    made.exporter = exporter
    yield made
    await made.shutdown(PATIENCE)


def traces(keep, **more):
    return settings.from_spec({"traces": {"endpoint": "collector:4317", "keep": keep, **more}})


def review(telemetry, traceparent, *, denied=False):
    """A review with one step; how it was recorded, and what it told those it called."""
    record = telemetry.begin(traceparent, None, 0)
    told = record.headers()["traceparent"]
    if record.recording:
        record.begin(1, "r", 1)
        record.end("pass", "", 2)
        if telemetry.judge(record, 3, denied=denied):
            record.finish("admission", {}, 3)
            assert telemetry.keep(record)
    return record, told


async def exported(telemetry):
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    return {span.name: span for span in telemetry.exporter.spans}


async def test_a_kept_request_stays_in_its_callers_trace_and_says_why(telemetry):
    await telemetry.apply(traces({"denied": True}))
    record, told = review(telemetry, UNSAMPLED, denied=True)
    spans = await exported(telemetry)
    server, rule = spans["admission"], spans["RULE r"]
    assert server.context.trace_id == rule.context.trace_id == 7
    assert server.parent.span_id == 9
    assert server.attributes == {semconv.KEPT_BY: "denied", semconv.PARENT_SAMPLED: False}
    assert 0 < server.start_time < rule.start_time < rule.end_time < server.end_time
    assert told.endswith("-00"), "those we called were told that nobody samples"
    assert record.traceparent.endswith("-01"), "the answer says that our spans exist"


async def test_a_request_that_no_rule_keeps_leaves_nothing(telemetry):
    await telemetry.apply(traces({"denied": True}))
    record, _ = review(telemetry, UNSAMPLED)
    assert await exported(telemetry) == {}
    assert record.traceparent.endswith("-00")
    assert not record.decision.recorded


async def test_a_root_that_the_rate_did_not_choose_may_be_kept(telemetry):
    await telemetry.apply(traces({"denied": True}))
    review(telemetry, None, denied=True)
    server = (await exported(telemetry))["admission"]
    assert server.parent is None
    assert server.attributes == {semconv.KEPT_BY: "denied"}


@pytest.mark.parametrize("keep", [{}, None])
async def test_without_rules_the_parent_decides_alone(telemetry, keep):
    """And nothing is recorded that nobody will look at."""
    await telemetry.apply(traces(keep))
    record, _ = review(telemetry, UNSAMPLED, denied=True)
    assert not record.recording
    assert await exported(telemetry) == {}


async def test_a_sampled_request_is_not_marked(telemetry):
    await telemetry.apply(traces(ALL))
    review(telemetry, SAMPLED, denied=True)
    assert (await exported(telemetry))["admission"].attributes == {}


async def test_rules_that_change_while_a_request_is_under_way_are_those_of_its_end(telemetry):
    await telemetry.apply(traces({"denied": True}))
    record = telemetry.begin(UNSAMPLED, None, 0)
    await telemetry.apply(traces({}))
    assert not telemetry.judge(record, 3, denied=True)


async def test_past_the_cap_callers_are_not_followed_and_are_counted(telemetry):
    """A forged header costs its writer nothing: it must not cost us a trace each time."""
    await telemetry.apply(traces(None, parentTracesPerSecond=3))
    followed = [review(telemetry, SAMPLED)[1].endswith("-01") for _ in range(10)]
    assert followed == [True] * 3 + [False] * 7
    assert "telemetry_traces_capped_total 7" in scraped.text(telemetry)
    server = (await exported(telemetry))["admission"]
    assert server.attributes == {}


@pytest.mark.parametrize("callers_known", [True])
async def test_past_the_cap_a_rule_may_still_keep_a_request(telemetry):
    """Of callers that had to show who they are."""
    await telemetry.apply(traces({"denied": True}, parentTracesPerSecond=0))
    _, told = review(telemetry, SAMPLED, denied=True)
    assert told.endswith("-00")
    assert (await exported(telemetry))["admission"].attributes == {semconv.KEPT_BY: "denied"}
    assert "telemetry_traces_capped_total 1" in scraped.text(telemetry)


@pytest.mark.parametrize("traceparent", [None, UNSAMPLED, SAMPLED])
async def test_callers_that_nobody_knows_get_no_more_traces_from_rules_than_from_headers(telemetry, traceparent):
    """A request that is sure to be denied costs its writer no more than a header; both draw from one cap."""
    await telemetry.apply(traces(None, parentTracesPerSecond=3, decisionLink="https://jaeger/{trace_id}"))
    records = [review(telemetry, traceparent, denied=True)[0] for _ in range(10)]
    linked = [bool(telemetry.decision_link(record.decision)) for record in records]
    assert linked == [record.traceparent.endswith("-01") for record in records] == [True] * 3 + [False] * 7
    assert "telemetry_traces_capped_total 7" in scraped.text(telemetry)
    assert await asyncio.to_thread(telemetry.queue.flush, PATIENCE)
    assert [span.name for span in telemetry.exporter.spans].count("admission") == 3


async def test_what_the_administrators_rates_choose_does_not_count_against_the_cap(telemetry):
    """Whatever a keep rule says of it, too: a rule about policies is applied at the end, as keep rules are."""
    rules = [{"policies": ["p"], "samplingRatePerMillion": 1_000_000}]
    await telemetry.apply(traces({"denied": True}, parentTracesPerSecond=0, samplingRules=rules))
    record = telemetry.begin(None, None, 0)
    assert telemetry.judge(record, 3, denied=True, policies=lambda: ["p"])
    assert not telemetry.judge(telemetry.begin(None, None, 0), 3, denied=True, policies=lambda: ["q"])
    assert "telemetry_traces_capped_total 1" in scraped.text(telemetry)


async def test_roots_do_not_count_against_the_cap(telemetry):
    await telemetry.apply(traces(None, parentTracesPerSecond=0, samplingRatePerMillion=1_000_000))
    assert review(telemetry, None)[1].endswith("-01")
