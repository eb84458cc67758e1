"""Rules with targets: what a request sets off, which objects are meant, and what becomes of them."""

import itertools

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, mutate, needs
from kymograph.engine.mutate import existing

TRIGGER = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "shop"}, "data": {"a": "1"}}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "s-1", "namespace": "shop", "labels": {"app": "web"}},
}


def policy(*targets, mutation=None, kind="ClusterPolicy", namespace="", **changes):
    patch = {"patchStrategicMerge": {"metadata": {"labels": {"of": "{{ request.object.metadata.name }}"}}}}
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": kind,
            "metadata": {"name": "p", **({"namespace": namespace} if namespace else {})},
            "spec": {
                "background": False,
                "rules": [
                    {
                        "name": "r",
                        "match": {"any": [{"resources": {"kinds": ["ConfigMap"]}}]},
                        "mutate": {"targets": list(targets), **(mutation or patch)},
                        **changes,
                    }
                ],
            },
        }
    )


def target(**changes):
    return {"apiVersion": "v1", "kind": "Secret", "namespace": "shop", "name": "s-*", **changes}


def request(document=TRIGGER, **changes):
    return {
        "uid": "u",
        "kind": {"group": "", "version": "v1", "kind": document["kind"]},
        "resource": {"group": "", "version": "v1", "resource": "things"},
        "namespace": "shop",
        "operation": "UPDATE",
        "object": document,
        "oldObject": document,
        **changes,
    }


def triggered(*policies, facts=None, **changes):
    clock = itertools.count().__next__
    return existing.triggered(policies, request(**changes), facts or needs.Facts(), budgets.Budget(), clock)


def changed(compiled, document=SECRET):
    ((found),) = triggered(compiled)
    ((meant),) = found.meant
    return existing.change(found, meant.target, document, budgets.Budget())


def test_a_rule_with_targets_leaves_its_trigger_alone():
    mutated = mutate.apply([policy(target())], request(), needs.Facts(), budgets.Budget(), itertools.count().__next__)

    assert mutated == ((), TRIGGER)


def test_a_target_is_changed_by_what_the_trigger_says():
    outcome, document = changed(policy(target()))

    assert (outcome.status, outcome.message) == ("pass", "mutated Secret/s-1 in namespace shop")
    assert document["metadata"]["labels"] == {"app": "web", "of": "c"}


@pytest.mark.parametrize(
    ("mutation", "labels"),
    [
        (
            {"patchStrategicMerge": {"metadata": {"labels": {"n": "{{ target.metadata.name }}"}}}},
            {"app": "web", "n": "s-1"},
        ),
        ({"patchStrategicMerge": {"metadata": {"labels": {"app": "{{ @ }}-x"}}}}, {"app": "web-x"}),
        (
            {
                "foreach": [
                    {"list": "['a']", "patchStrategicMerge": {"metadata": {"labels": {"a": "1"}}}},
                    {
                        "list": "keys(target.metadata.labels)",
                        "patchStrategicMerge": {"metadata": {"labels": {"{{ element }}": "0"}}},
                    },
                ]
            },
            {"app": "0", "a": "0"},
        ),
    ],
)
def test_expressions_see_the_target(mutation, labels):
    assert changed(policy(target(), mutation=mutation)).resource["metadata"]["labels"] == labels


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"preconditions": {"all": [{"key": "{{ target.kind }}", "operator": "Equals", "value": "Secret"}]}}, "pass"),
        ({"preconditions": {"all": [{"key": "{{ target.kind }}", "operator": "Equals", "value": "Pod"}]}}, "skip"),
        ({"preconditions": {"all": [{"key": "{{ target.none }}", "operator": "Equals", "value": "Pod"}]}}, "error"),
        (
            {
                "context": [{"name": "k", "variable": {"jmesPath": "target.kind"}}],
                "preconditions": {"all": [{"key": "{{ k }}", "operator": "Equals", "value": "Secret"}]},
            },
            "pass",
        ),
    ],
)
def test_context_and_preconditions_of_a_target_are_about_each_object(changes, outcome):
    assert changed(policy(target(**changes))).outcome.status == outcome


@pytest.mark.parametrize(
    ("changes", "matches"),
    [
        ({}, True),
        ({"name": "x*"}, False),
        ({"name": ""}, True),
        ({"namespace": "other"}, False),
        ({"namespace": "{{ request.namespace }}"}, True),
        ({"selector": {"matchLabels": {"app": "web"}}}, True),
        ({"selector": {"matchLabels": {"app": "{{ request.object.data.a }}"}}}, False),
    ],
)
def test_targets_are_found_by_name_namespace_and_labels(changes, matches):
    ((found),) = triggered(policy(target(**changes)))

    assert found.meant[0].wanted.matcher()(SECRET) is matches


def test_kinds_of_targets_may_be_subresources_of_any_group():
    ((found),) = triggered(policy(target(apiVersion="apps/v1", kind="Deployment/scale")))

    kind = found.meant[0].wanted.kind
    assert (kind.group, kind.version, kind.kind, kind.subresource) == ("apps", "v1", "Deployment", "scale")


def test_a_namespaced_policy_means_objects_of_its_own_namespace():
    ((found),) = triggered(policy(target(namespace=""), kind="Policy", namespace="shop"))

    assert found.meant[0].wanted.namespace == "shop"


def test_a_target_that_cannot_be_resolved_says_why():
    ((found),) = triggered(policy(target(name="{{ request.object.data.none }}")))

    assert found.meant[0].wanted is None
    assert found.meant[0].reason.startswith("failed to substitute variables in target[0]: failed to resolve")


def test_a_rule_that_is_not_set_off_has_a_result_or_none():
    guarded = policy(target(), preconditions={"all": [{"key": "a", "operator": "Equals", "value": "b"}]})

    ((found),) = triggered(guarded)

    assert (found.result.status, found.meant) == ("skip", ())
    assert triggered(policy(target()), document={**SECRET, "kind": "Pod"}) == ()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"name": "x"}, "a target needs a kind"),
        (target(labels={}), "unknown field"),
        (target(name="{{ request.}}"), "request."),
    ],
)
def test_targets_that_cannot_be_compiled_say_why(entry, reason):
    with pytest.raises(errors.PolicyInvalid) as invalid:
        policy(entry)
    assert reason in str(invalid.value)
