"""What reviews count, while what is shown and which policies there are changes under them."""

import itertools

import pytest
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.controllers import policies
from kymograph.controllers.admission.metrics import ReviewMetrics
from kymograph.engine import budget, evaluate, needs
from kymograph.telemetry import cells, instruments, metricsettings, propagation, recorder, sampling, settings
from kymograph.telemetry.instruments import labels
from support import pods
from support.installed import NO_PRIVILEGES

SECOND = 1_000_000_000


class Reviewing:
    """Reviews of Pods by one policy, and what is counted."""

    def __init__(self):
        clock = itertools.count(1)
        self.cells = cells.Cells(InstrumentationScope("test"), lambda: next(clock))
        self.instruments = instruments.declare(self.cells)
        self.store = policies.PolicyStore()
        metadata = {**NO_PRIVILEGES["metadata"], "uid": "1", "resourceVersion": "1", "generation": 1}
        self.policy = {**NO_PRIVILEGES, "metadata": metadata}
        self.store.put(self.policy)
        self.metrics = ReviewMetrics(self.instruments, self.store)
        self.configure()

    def judged(self, namespace="default"):
        """A request and what the policy makes of it."""
        request = pods.create(namespace=namespace)["request"]
        held = self.store.policies.policies
        spent = budget.Budget(steps=100_000, deadline=1 << 62, clock=lambda: 0)
        return request, evaluate.evaluate(held, request, needs.Facts(), spent, itertools.count(0, SECOND).__next__)

    def review(self, namespace="default", kept=None):
        request, results = self.judged(namespace)
        self.metrics.reviewed(request, True, results, 2 * SECOND, kept)

    def points(self, name):
        metric = next((each for each in self.cells.read() if each.name == name), None)
        return [] if metric is None else metric.data.data_points

    def configure(self, **fields):
        self.cells.configure(metricsettings.from_spec({"byNamespace": True, **fields}))


@pytest.fixture
def reviewing():
    return Reviewing()


def test_a_review_and_its_rules_are_counted_with_their_durations(reviewing):
    reviewing.review()
    reviewing.review()
    (requests,), (durations,) = (
        reviewing.points(name) for name in ("admission_requests", "admission_review_duration_seconds")
    )
    assert (requests.value, durations.count, durations.sum) == (2, 2, 4)
    (results,), (executions,) = (
        reviewing.points(name) for name in ("policy_results", "policy_execution_duration_seconds")
    )
    assert (results.value, executions.count) == (2, 2)
    assert (
        results.attributes
        == labels.Rule(
            policy_validation_mode="enforce",
            policy_type="cluster",
            policy_background_mode="true",
            policy_namespace="-",
            policy_name="no-privileges",
            resource_kind="Pod",
            resource_namespace="default",
            resource_request_operation="create",
            rule_name="no-privileges-rule",
            rule_result="pass",
            rule_type="validate",
            rule_execution_cause="admission_request",
            dry_run="false",
        )._asdict()
    )


def test_reviews_count_on_while_what_is_shown_changes(reviewing):
    reviewing.review("a")
    reviewing.configure(exposure={"policy_results": {"dropLabels": ["resource_namespace"]}}, prefix="kyverno_")
    reviewing.review("b")
    assert [point.value for point in reviewing.points("kyverno_policy_results")] == [2]
    assert [point.value for point in reviewing.points("kyverno_admission_requests")] == [1, 1]
    reviewing.configure(namespaces={"exclude": ["a"]})
    reviewing.review("a")
    reviewing.review("b")
    assert [point.value for point in reviewing.points("admission_requests")] == [2]


def test_a_namespace_that_is_gone_leaves_nothing_and_may_come_back(reviewing):
    reviewing.review("a")
    reviewing.review("b")
    reviewing.cells.forget({"resource_namespace": "a"})
    for name in ("admission_requests", "policy_results", "policy_execution_duration_seconds"):
        assert {point.attributes["resource_namespace"] for point in reviewing.points(name)} == {"b"}
    reviewing.review("a")
    assert [point.value for point in reviewing.points("admission_requests")] == [1, 1]


def test_a_review_that_ends_after_its_policy_brings_no_series_back(reviewing):
    request, results = reviewing.judged()
    reviewing.store.drop(policies.key_of(reviewing.policy), "1")
    reviewing.cells.forget({"policy_namespace": "-", "policy_name": "no-privileges"})
    reviewing.metrics.reviewed(request, True, results, SECOND)
    assert reviewing.points("policy_results") == []
    assert len(reviewing.points("admission_requests")) == 1


def test_a_kept_trace_is_the_exemplar_of_what_it_counted(reviewing):
    kept = _kept()
    reviewing.review()
    assert [point.exemplars for point in reviewing.points("policy_results")] == [[]]
    reviewing.review(kept=kept)
    counted = {
        name: [exemplar for point in reviewing.points(name) for exemplar in point.exemplars]
        for name in (
            "admission_requests",
            "admission_review_duration_seconds",
            "policy_results",
            "policy_execution_duration_seconds",
        )
    }
    assert {name: exemplars[0].value for name, exemplars in counted.items()} == {
        "admission_requests": 1,
        "admission_review_duration_seconds": 2,
        "policy_results": 1,
        "policy_execution_duration_seconds": 1,
    }
    for exemplar in itertools.chain(*counted.values()):
        assert (exemplar.trace_id, exemplar.span_id) == (0xABC, kept.decision.span_id)
        assert exemplar.time_unix_nano == 9 * SECOND


def test_what_is_kept_bound_is_bounded(reviewing, monkeypatch):
    monkeypatch.setattr("kymograph.controllers.admission.metrics.MOST_BOUND", 10)
    for number in range(100):
        reviewing.review(str(number))
    assert len(reviewing.points("policy_results")) == 100
    assert sum(len(bound) for bound in reviewing.metrics._rules.values()) <= 10
    assert len(reviewing.metrics._requests) <= 10


def test_without_exemplars_a_kept_trace_is_counted_and_not_named(reviewing):
    reviewing.cells.configure(metricsettings.MetricSettings(exemplars=False))
    reviewing.review(kept=_kept())
    for name in ("admission_requests", "policy_results", "policy_execution_duration_seconds"):
        assert [point.exemplars for point in reviewing.points(name)] == [[]]


def _kept():
    """The record of a review whose trace is kept."""
    ids = RandomIdGenerator()
    parent = propagation.RemoteParent(0xABC, 0xDEF, sampled=True)
    return recorder.Recorder(sampling.decide(settings.TraceSettings(), parent, ids), 0, 7 * SECOND, ids)
