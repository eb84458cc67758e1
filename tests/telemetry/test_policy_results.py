"""Results of policies of every kind are counted by the same metrics; those of CEL policies by Kyverno's as well."""

import pytest
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import cells, instruments, metricsettings, policyresults
from kymograph.telemetry.instruments import labels

RULE = labels.Rule(
    *(
        "audit",
        "cluster",
        "true",
        "-",
        "p",
        "Pod",
        "shop",
        "create",
        "r",
        "fail",
        "validate",
        "background_scan",
        "false",
    )
)


@pytest.fixture
def registry():
    return cells.Cells(InstrumentationScope("test"), lambda: 1)


def counted(registry, kind, **changed):
    """What is counted of one result, by metric: the only point of each."""
    made = instruments.declare(registry)
    registry.configure(metricsettings.MetricSettings(prefix="kyverno_"))
    bound = policyresults.bind(made, RULE._replace(policy_type=policyresults.policy_type(kind), **changed))
    mark = cells.Mark(0.3, 2, 3, 4)
    bound.results.add()
    bound.durations.record(0.3)
    bound.results.exemplify(mark)
    bound.durations.exemplify(mark)
    found = {}
    for metric in registry.read():
        (found[metric.name],) = metric.data.data_points
    return found


@pytest.mark.parametrize(("kind", "type_"), [("ClusterPolicy", "cluster"), ("Policy", "namespaced")])
def test_classic_policies_have_kyvernos_types_and_no_metric_of_their_kind(registry, kind, type_):
    found = counted(registry, kind)
    assert set(found) == {"kyverno_policy_results", "kyverno_policy_execution_duration_seconds"}
    assert {point.attributes["policy_type"] for point in found.values()} == {type_}


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        ("ValidatingPolicy", "validating"),
        ("NamespacedValidatingPolicy", "validating"),
        ("ImageValidatingPolicy", "image_validating"),
        ("NamespacedImageValidatingPolicy", "image_validating"),
        ("MutatingPolicy", "mutating"),
        ("NamespacedMutatingPolicy", "mutating"),
        ("GeneratingPolicy", "generating"),
        ("NamespacedGeneratingPolicy", "generating"),
    ],
)
def test_a_cel_policy_has_its_kind_for_a_type_and_its_traces_in_both_metrics(registry, kind, metric):
    found = counted(registry, kind)
    results = {"kyverno_policy_results", f"kyverno_{metric}_policy_results"}
    durations = {f"{name.removesuffix('_results')}_execution_duration_seconds" for name in results}
    assert set(found) == results | durations
    assert {found[name].value for name in results} == {1}
    assert {found[name].count for name in durations} == {1}
    assert {each.trace_id for point in found.values() for each in point.exemplars} == {3}
    assert all(point.exemplars for point in found.values())
    assert found["kyverno_policy_results"].attributes["policy_type"] == kind


@pytest.mark.parametrize(
    ("said", "label", "expected"),
    [
        ({"policy_validation_mode": "enforce"}, "policy_validation_mode", "Deny"),
        ({"policy_validation_mode": "audit"}, "policy_validation_mode", "Audit"),
        ({"policy_namespace": "-"}, "policy_namespace", ""),
        ({"policy_namespace": "shop"}, "policy_namespace", "shop"),
        ({"rule_result": "pass"}, "result", "pass"),
        ({"rule_execution_cause": "admission_request"}, "execution_cause", "admission_request"),
    ],
)
def test_kyvernos_labels_have_kyvernos_values(registry, said, label, expected):
    found = counted(registry, "ValidatingPolicy", **said)
    assert found["kyverno_validating_policy_results"].attributes[label] == expected
