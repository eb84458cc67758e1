"""Other rates for some namespaces, policies and controllers: the first rule that fits counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.telemetry import errors, keeping, propagation, providers, sampling, samplingrules, semconv, settings

ALL, NONE = 1_000_000, 0
SAMPLED = propagation.RemoteParent(11 << 64, 22, sampled=True)
UNSAMPLED = propagation.RemoteParent(11 << 64, 22, sampled=False)


def traces(*rules, **more):
    return settings.from_spec({"traces": {"endpoint": "collector:4317", "samplingRules": list(rules), **more}}).traces


def rule(rate, **about):
    return {"samplingRatePerMillion": rate, **about}


@pytest.mark.parametrize(
    ("namespace", "policies", "rate"),
    [
        ("kube-system", (), 1),
        ("kube-system", ("require-labels",), 1),
        ("team-a", ("require-labels",), 2),
        ("team-a", ("team-a/limits",), 3),
        ("team-a", ("limits",), 4),
        ("", ("limits",), 5),
        ("shop", (), 5),
    ],
)
def test_the_first_rule_that_fits_counts(namespace, policies, rate):
    """An object without a namespace fits no pattern of namespaces, not even `*`; without any the common rate counts."""
    rules = traces(
        rule(1, namespaces=["kube-*"]),
        rule(2, policies=["require-*", "disallow-*"]),
        rule(3, namespaces=["*"], policies=["team-?/*"]),
        rule(4, namespaces=["team-*"]),
    ).sampling_rules
    assert samplingrules.rate(rules, namespace, policies, 5) == rate


@pytest.mark.parametrize(
    ("rules", "namespace", "sampled", "tentative"),
    [
        ([rule(ALL, namespaces=["shop"])], "shop", True, False),
        ([rule(ALL, namespaces=["shop"])], "other", False, False),
        ([rule(ALL, policies=["p"])], "shop", False, True),
        ([rule(NONE, policies=["p"])], "shop", False, False),
        ([rule(ALL, policies=["p"], namespaces=["shop"])], "other", False, False),
        ([rule(ALL, namespaces=["shop"]), rule(NONE, policies=["p"])], "shop", True, False),
        ([rule(NONE, namespaces=["shop"]), rule(ALL, policies=["p"])], "shop", False, False),
    ],
)
def test_what_namespaces_decide_is_decided_at_the_start(ids, rules, namespace, sampled, tentative):
    """Only a rule about policies that may still count, and would say something else, has the request recorded."""
    decision = sampling.decide(traces(*rules), None, ids, namespace=namespace)
    assert (decision.sampled, decision.recorded, decision.tentative) == (sampled, sampled, tentative)


@pytest.mark.parametrize("parent", [SAMPLED, UNSAMPLED])
def test_a_respected_parent_is_followed_whatever_the_rules(ids, parent):
    """At the start and at the end."""
    wanted = traces(rule(ALL, namespaces=["shop"]), rule(ALL, policies=["p"]))
    decision = sampling.decide(wanted, parent, ids, namespace="shop")
    assert decision.sampled is parent.sampled
    assert not decision.tentative
    assert not sampling.is_sampled_after_all(wanted, decision, "shop", lambda: ["p"])


@pytest.mark.parametrize("mode", ["link", "ignore"])
def test_where_the_parent_is_not_respected_rules_count(ids, mode):
    wanted = traces(rule(ALL, namespaces=["shop"]), parent=mode)
    assert sampling.decide(wanted, UNSAMPLED, ids, namespace="shop").sampled


class OneTrace:
    """Makes one id only."""

    def __init__(self, trace_id):
        self.trace_id = trace_id

    def generate_trace_id(self):
        return self.trace_id

    def generate_span_id(self):
        return 1


rates = st.integers(0, ALL)
globs = st.lists(st.sampled_from(["a", "b", "*", "a*"]), max_size=2, unique=True)
a_rule = st.builds(lambda rate, n, p: rule(rate, namespaces=n, policies=p), rates, globs, globs)


@given(
    st.lists(a_rule, max_size=4),
    rates,
    st.integers(1, (1 << 128) - 1),
    st.sampled_from(["", "a", "b", "c"]),
    st.sets(st.sampled_from(["a", "b", "c"])),
)
def test_start_and_end_together_decide_by_the_rate_of_the_first_rule_that_fits(rules, common, trace_id, where, applied):
    """So a trace id is sampled by every replica alike, whenever it was decided."""
    wanted = traces(*rules, samplingRatePerMillion=common)
    decision = sampling.decide(wanted, None, OneTrace(trace_id), namespace=where)
    end = decision.tentative and sampling.is_sampled_after_all(wanted, decision, where, lambda: applied)
    rate = samplingrules.rate(wanted.sampling_rules, where, applied, common)
    assert (decision.sampled or end) is sampling.is_within_rate(trace_id, rate)


def test_rules_of_other_controllers_do_not_count():
    wanted = traces(rule(1, controllers=["reports"]), rule(2, controllers=["admission", "cleanup"]), rule(3))
    assert [each.rate_per_million for each in wanted.of(settings.Controller.ADMISSION).sampling_rules] == [2, 3]
    assert [each.rate_per_million for each in wanted.of(settings.Controller.BACKGROUND).sampling_rules] == [3]


def test_without_rules_of_others_nothing_is_made_anew():
    """The settings of a controller are looked at for every span."""
    wanted = traces(rule(1))
    assert wanted.of(settings.Controller.REPORTS) is wanted


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({}, r"traces\.samplingRules\[1\]\.samplingRatePerMillion"),
        (rule(ALL + 1), r"traces\.samplingRules\[1\]\.samplingRatePerMillion"),
        (rule(1, controllers=["kitchen"]), r"traces\.samplingRules\[1\]\.controllers"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_path(wrong, path):
    with pytest.raises(errors.SettingsInvalid, match=path):
        traces(rule(1), wrong)


@pytest.fixture
async def telemetry(fake_exporter):
    exporter = fake_exporter()
    made = providers.Telemetry(
        lambda _, subject: (f"RULE {subject}", {}), facts={}, environ={}, make_exporter=lambda _: exporter
    )
    made.exporter = exporter
    yield made
    await made.shutdown(5)


@pytest.mark.parametrize(("applied", "kept"), [(["p"], True), (["q"], False)])
async def test_a_request_is_kept_for_its_policies_and_says_why(telemetry, applied, kept):
    await telemetry.apply(settings.TelemetrySettings(traces=traces(rule(ALL, policies=["p"]))))
    record = telemetry.begin(None, None, 0, "shop")
    assert record.recording
    assert telemetry.judge(record, 3, denied=False, namespace="shop", policies=lambda: applied) is kept
    assert record.kept_by == (keeping.SAMPLING_RULE if kept else "")


@pytest.mark.parametrize(
    ("attributes", "sampled"),
    [
        ({semconv.OBJECT_NAMESPACE: "shop"}, True),
        ({semconv.OBJECT_NAMESPACE: "other"}, False),
        ({semconv.POLICY_NAME: "tidy", semconv.POLICY_NAMESPACE: "shop"}, True),
        ({semconv.POLICY_NAME: "tidy", semconv.POLICY_NAMESPACE: ""}, True),
        ({semconv.POLICY_NAME: "other", semconv.POLICY_NAMESPACE: ""}, False),
        ({}, False),
    ],
)
async def test_work_outside_of_requests_is_sampled_by_what_its_root_says(telemetry, attributes, sampled):
    """Of its object's namespace, or its policy's, and of its policy; and it changes live."""
    wanted = traces(rule(ALL, namespaces=["shop"]), rule(ALL, policies=["tidy"]))
    await telemetry.apply(settings.TelemetrySettings(traces=wanted))
    with telemetry.tracer_for("cleanup").start_as_current_span("CLEANUP object", attributes=attributes) as span:
        assert span.get_span_context().trace_flags.sampled is sampled
    await telemetry.apply(settings.TelemetrySettings(traces=traces()))
    with telemetry.tracer_for("cleanup").start_as_current_span("CLEANUP object", attributes=attributes) as span:
        assert not span.get_span_context().trace_flags.sampled
