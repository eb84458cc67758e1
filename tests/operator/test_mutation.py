"""What policies change is what the API server stores, before others judge it."""

import json

import pytest

from support.installed import pod

MUTATION = ("mutatingwebhookconfiguration", "kymograph-resource-mutation")


_TEAM_PATCH = """
- op: add
  path: /metadata/annotations/team
  value: "{{ request.object.metadata.labels.team }}"
"""


def mutating(name, mutate, *, kinds=("Pod",), **spec):
    """A policy with one rule that mutates."""
    match = {"any": [{"resources": {"kinds": list(kinds)}}]}
    rule = {"name": f"{name}-rule", "match": match, "mutate": mutate, **spec.pop("rule", {})}
    metadata = {"name": name, "annotations": {"pod-policies.kyverno.io/autogen-controllers": "none"}}
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": metadata,
        "spec": {**spec, "rules": [rule]},
    }


def labelling(name, **labels):
    return mutating(name, {"patchStrategicMerge": {"metadata": {"labels": labels}}})


def created(installed, document, *arguments):
    """The object as the API server would store it."""
    ran = installed.create(document, "--dry-run=server", "-o", "json", *arguments)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_an_object_is_stored_as_policies_change_it(installed, enforce) -> None:
    """Policies in the order of their names, each seeing what the one before made; ports merged by their keys."""
    enforce(labelling("a-team", **{"+(team)": "none", "seen": "{{ request.object.spec.containers[0].name }}"}))
    enforce(
        mutating(
            "b-annotate",
            {"patchesJson6902": _TEAM_PATCH},
        )
    )
    enforce(
        mutating(
            "c-pull",
            {
                "foreach": [
                    {
                        "list": "request.object.spec.containers",
                        "patchStrategicMerge": {
                            "spec": {"containers": [{"(name)": "{{ element.name }}", "imagePullPolicy": "Always"}]}
                        },
                    }
                ]
            },
        )
    )
    stored = created(installed, pod("plain"))
    (container,) = stored["spec"]["containers"]
    assert stored["metadata"]["labels"] == {"team": "none", "seen": container["name"]}
    assert stored["metadata"]["annotations"] == {"team": "none"}
    assert container["imagePullPolicy"] == "Always"
    named = pod("named")
    named["metadata"]["labels"] = {"team": "web"}
    assert created(installed, named)["metadata"]["labels"]["team"] == "web"


def test_validation_sees_what_mutation_made(installed, enforce) -> None:
    """One policy gives what another demands; without the first the second refuses."""
    demand = {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "demand"},
        "spec": {
            "rules": [
                {
                    "name": "demand-rule",
                    "match": {"any": [{"resources": {"kinds": ["Pod"]}}]},
                    "validate": {
                        "failureAction": "Enforce",
                        "message": "a team is required",
                        "pattern": {"metadata": {"labels": {"team": "?*"}}},
                    },
                }
            ]
        },
    }
    enforce(demand)
    assert "a team is required" in installed.create(pod("poor"), "--dry-run=server").stderr
    enforce(labelling("give", team="all"))
    assert created(installed, pod("rich"))["metadata"]["labels"]["team"] == "all"


@pytest.mark.parametrize("failure_policy", ["Fail", "Ignore"])
def test_a_rule_that_cannot_be_applied_denies_or_warns(installed, enforce, failure_policy) -> None:
    """As the failure policy says; the user reads which rule, and why."""
    broken = labelling("broken", team="{{ request.object.metadata.annotations.missing }}")
    broken["spec"]["failurePolicy"] = failure_policy
    enforce(broken)
    ran = installed.create(pod("any"), "--dry-run=server")
    if failure_policy == "Fail":
        assert ran.returncode == 1
        assert "mutation policy broken error: failed to apply policy broken rules [broken-rule: " in ran.stderr
    else:
        assert ran.returncode == 0
        assert "Warning: policy broken.broken-rule: " in ran.stderr


def test_a_change_is_in_the_trace_of_its_request(installed, enforce, otlp) -> None:
    """A server span that says there is a patch, below it policy and rule; the audit event has the trace's id."""
    enforce(labelling("traced", team="all"))
    assert installed.create(pod("traced-mutation"), "--dry-run=server").returncode == 0
    server = otlp.wait_for(
        lambda span: (
            span.name == "admission mutate CREATE Pod"
            and span.attributes.get("admission.request.name") == "traced-mutation"
        ),
        60,
    )
    assert server.attributes["admission.response.patchtype"] == "JSONPatch"
    rule = otlp.wait_for(lambda span: span.trace_id == server.trace_id and span.name == "RULE traced-rule", 60)
    assert rule.attributes["kymograph.rule.type"] == "mutate"
    assert rule.attributes["kymograph.rule.result"] == "pass"


def test_without_policies_that_mutate_nobody_is_asked_to(installed, enforce) -> None:
    """The configuration comes with the first such policy and goes with the last."""
    enforce(labelling("only", team="all"))
    webhook = installed.get(*MUTATION)["webhooks"][0]
    assert webhook["reinvocationPolicy"] == "IfNeeded"
    assert [rule["operations"] for rule in webhook["rules"]] == [["CREATE", "UPDATE"]]
    installed.forget_policies()
    assert installed.kubectl("get", *MUTATION, check=False).returncode != 0
