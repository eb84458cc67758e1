"""Cleanup policies: what is refused, in Kyverno's words, and which objects are deleted."""

import copy
import datetime as dt
from typing import Any

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import cleanup, errors, needs

POLICY = {
    "apiVersion": "kyverno.io/v2",
    "kind": "ClusterCleanupPolicy",
    "metadata": {"name": "tidy"},
    "spec": {
        "schedule": "*/5 * * * *",
        "match": {"any": [{"resources": {"kinds": ["Pod", "apps/v1/Deployment"]}}]},
    },
}
IN_NAMESPACE = {"kind": "CleanupPolicy", "metadata": {"name": "tidy", "namespace": "shop"}}


def written(spec: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """The policy above with other fields; None takes one away."""
    made = copy.deepcopy(POLICY) | more
    merged = made["spec"] | (spec or {})
    made["spec"] = {key: value for key, value in merged.items() if value is not None}
    return made


def pod(name: str = "web", namespace: str = "shop", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": {"containers": [{"name": "main", "image": "registry.example/app:1.2"}]},
    }


def problems(document: dict[str, Any]) -> list[str]:
    with pytest.raises(errors.PolicyInvalid) as caught:
        cleanup.compile(document)
    return [str(problem) for problem in caught.value.problems]


def decided(
    spec: dict[str, Any], resource: dict[str, Any], facts: needs.Facts | None = None, **more: Any
) -> cleanup.Decision:
    policy = cleanup.compile(written(spec, **more))
    return cleanup.decide(policy, resource, budgets.Budget(facts=facts or needs.Facts()))


def filters(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"any": [{"resources": each} for each in resources]}


def test_what_is_compiled() -> None:
    """Schedule, kinds, propagation; the policy is kept as applied."""
    document = written({"deletionPropagationPolicy": "Orphan"})
    policy = cleanup.compile(document)
    after = dt.datetime(2024, 3, 1, 12, 1, tzinfo=dt.UTC)
    assert policy.schedule.next(after) == dt.datetime(2024, 3, 1, 12, 5, tzinfo=dt.UTC)
    assert [selector.kind for selector in policy.selectors] == ["Pod", "Deployment"]
    assert policy.propagation == "Orphan"
    assert policy.document is document
    assert str(policy) == "ClusterCleanupPolicy tidy"
    assert str(cleanup.compile(written(**IN_NAMESPACE))) == "CleanupPolicy shop/tidy"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"schedule": "invalid-schedule"},
            (
                'spec.schedule: Invalid value: "invalid-schedule": schedule spec in the cleanupPolicy is not in proper '
                "cron format: expected 5 fields, found 1"
            ),
        ),
        ({"match": None}, "spec.match: at least one resource filter must be specified"),
        ({"match": filters({"names": ["a"]})}, "spec.match: at least one kind must be specified"),
        ({"match": {"resources": {"kinds": ["Pod"]}}}, "spec.match.resources: unknown field"),
        (
            {"match": {"any": [{"resources": {"kinds": ["Pod"]}, "roles": ["a:b"]}]}},
            "spec.match.any[0].roles: Usage of user info is forbidden",
        ),
        (
            {"exclude": {"all": [{"clusterRoles": ["admin"]}]}},
            "spec.exclude.all[0].clusterRoles: Usage of user info is forbidden",
        ),
        (
            {"context": [{"name": "a", "configMap": {"name": "b", "namespace": "c"}}]},
            "spec.context[0]: ConfigMap is not allowed in CleanUp Policy",
        ),
        (
            {"context": [{"name": "a", "imageRegistry": {"reference": "b"}}]},
            "spec.context[0]: ImageRegistry is not allowed in CleanUp Policy",
        ),
        (
            {"exclude": POLICY["spec"]["match"]},
            "spec: CleanupPolicy is matching an empty set",
        ),
        ({"exclude": {}}, "spec.exclude: at least one resource filter must be specified"),
        ({"conditions": [{"key": "a", "operator": "Equals", "value": "a"}]}, "spec.conditions: must be a map"),
        ({"deletionPropagationPolicy": "orphan"}, "spec.deletionPropagationPolicy: 'orphan' is not one of"),
        ({"skedule": "* * * * *"}, "spec.skedule: unknown field; did you mean 'schedule'?"),
    ],
)
def test_what_is_refused(spec: dict[str, Any], expected: str) -> None:
    """With the path of the field."""
    assert any(problem.startswith(expected) for problem in problems(written(spec))), problems(written(spec))


def test_all_problems_at_once() -> None:
    """Not only the first."""
    document = written(
        {"schedule": "x", "context": [{"name": "a", "configMap": {"name": "b"}}]}, metadata={"name": "n" * 64}
    )
    found = problems(document)
    assert [problem.partition(":")[0] for problem in found] == ["metadata.name", "spec.context[0]", "spec.schedule"]
    assert found[0] == "metadata.name: Too long: may not be more than 63 bytes"


def test_a_policy_of_a_namespace_names_none() -> None:
    """It is about its own."""
    document = written({"match": filters({"kinds": ["Pod"], "namespaces": ["other"]})}, **IN_NAMESPACE)
    assert problems(document) == [
        "spec.match.any[0].namespaces: Filtering namespaces not allowed in namespaced policies"
    ]


@pytest.mark.parametrize(
    ("resource", "outcome"),
    [
        (pod(), cleanup.DELETE),
        (pod(namespace="other"), cleanup.UNMATCHED),
        ({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}, cleanup.UNMATCHED),
    ],
)
def test_a_policy_of_a_namespace_stays_in_it(resource: dict[str, Any], outcome: str) -> None:
    """Also where its filters would fit."""
    assert decided({"match": filters({"kinds": ["*"]})}, resource, **IN_NAMESPACE).outcome == outcome


@pytest.mark.parametrize(
    ("match", "exclude", "outcome"),
    [
        (filters({"kinds": ["Pod"]}), None, cleanup.DELETE),
        (filters({"kinds": ["Service"]}), None, cleanup.UNMATCHED),
        (filters({"kinds": ["v1/Pod"], "names": ["w*"]}), None, cleanup.DELETE),
        (filters({"kinds": ["Pod"], "operations": ["CREATE"]}), None, cleanup.DELETE),
        (filters({"kinds": ["Pod"]}), filters({"names": ["web"]}), cleanup.EXCLUDED),
        (filters({"kinds": ["Pod"]}), {"all": [{"resources": {"names": ["web"]}}, {}]}, cleanup.DELETE),
        ({"all": [{"resources": {"kinds": ["Pod"]}}, {"resources": {"names": ["x"]}}]}, None, cleanup.UNMATCHED),
    ],
)
def test_match_and_exclude(match: dict[str, Any], exclude: dict[str, Any] | None, outcome: str) -> None:
    """Operations are not looked at: nobody asks for anything."""
    assert decided({"match": match, "exclude": exclude}, pod()).outcome == outcome


def test_namespace_selectors_ask_for_labels_and_pass_namespaces() -> None:
    """A Namespace is matched whatever the selector says, as in Kyverno."""
    match = filters({"kinds": ["Pod", "Namespace"], "namespaceSelector": {"matchLabels": {"stage": "test"}}})
    with pytest.raises(needs.Needed) as asked:
        decided({"match": match}, pod())
    assert asked.value.need == needs.NamespaceLabels("shop")
    facts = needs.Facts()
    facts.add(needs.NamespaceLabels("shop"), {"stage": "test"})
    facts.add(needs.NamespaceLabels("live"), {"stage": "live"})
    assert decided({"match": match}, pod(), facts).outcome == cleanup.DELETE
    assert decided({"match": match}, pod(namespace="live"), facts).outcome == cleanup.UNMATCHED
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "live"}}
    assert decided({"match": match}, namespace, facts).outcome == cleanup.DELETE


def condition(key: str, operator: str, value: Any, message: str = "") -> dict[str, Any]:
    return {"key": key, "operator": operator, "value": value, **({"message": message} if message else {})}


@pytest.mark.parametrize(
    ("key", "value", "outcome"),
    [
        ("{{ target.metadata.name }}", "web", cleanup.DELETE),
        ("{{ target.metadata.name }}", "db", cleanup.UNMET),
        ("{{ request.namespace }}", "shop", cleanup.DELETE),
        ("{{ images.containers.main.tag }}", "1.2", cleanup.DELETE),
        ("{{ request.object.metadata.name }}", "web", cleanup.ERROR),
        ("{{ target.metadata.labels.absent }}", "web", cleanup.ERROR),
        ("{{ target.metadata.labels.absent || '' }}", "", cleanup.DELETE),
    ],
)
def test_conditions_see_the_object_as_target(key: str, value: str, outcome: str) -> None:
    """Its images and namespace too; there is no request about it. What fails stays."""
    assert decided({"conditions": {"all": [condition(key, "Equals", value)]}}, pod()).outcome == outcome


def test_why_not() -> None:
    """The message of a condition that does not hold, the text of an error."""
    unmet = {"any": [condition("{{ target.metadata.name }}", "Equals", "db", "only databases")]}
    assert decided({"conditions": unmet}, pod()) == (cleanup.UNMET, "only databases")
    broken = {"all": [condition("{{ target.a.b }}", "Equals", "c")]}
    outcome, reason = decided({"conditions": broken}, pod())
    assert outcome == cleanup.ERROR
    assert reason.startswith("failed to substitute variables in condition key: ")


def test_context_entries_are_loaded_when_conditions_name_them() -> None:
    """Calls are facts; a variable may be about the object, and is another one for each."""
    context = [
        {"name": "count", "apiCall": {"urlPath": "/api/v1/pods", "jmesPath": "items | length(@)"}},
        {"name": "name", "variable": {"jmesPath": "target.metadata.name"}},
        {"name": "shared", "globalReference": {"name": "entry"}},
    ]
    demanded = {"all": [condition("{{ name }}", "Equals", "web"), condition("{{ count }}", "GreaterThan", 1)]}
    facts = needs.Facts()
    assert decided({"context": context, "conditions": demanded}, pod("other"), facts).outcome == cleanup.UNMET
    with pytest.raises(needs.Needed) as asked:
        decided({"context": context, "conditions": demanded}, pod(), facts)
    assert asked.value.need == needs.APICall("/api/v1/pods")
    facts.add(asked.value.need, {"items": [1, 2, 3]})
    assert decided({"context": context, "conditions": demanded}, pod(), facts).outcome == cleanup.DELETE
    failed = needs.Facts()
    failed.fail(asked.value.need, "no answer")
    assert decided({"context": context, "conditions": demanded}, pod(), failed).outcome == cleanup.ERROR


def test_an_exhausted_budget_deletes_nothing() -> None:
    """It is an error like any other."""
    policy = cleanup.compile(written({"conditions": {"all": [condition("{{ target.metadata.name }}", "Equals", "w")]}}))
    assert cleanup.decide(policy, pod(), budgets.Budget(steps=1)).outcome == cleanup.ERROR
