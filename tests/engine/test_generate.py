"""What generate rules want to exist: its content, its labels, and when it has no reason to exist any more."""

import itertools

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import exceptions, needs
from kymograph.engine.generate import labels, planning, wanted
from kymograph.engine.rules import outcome

NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "team-a", "uid": "u-1", "labels": {"team": "a"}, "annotations": {"copies": "x,y"}},
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {
        "name": "registry",
        "namespace": "vault",
        "uid": "u-2",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{}],
        "selfLink": "/x",
        "labels": {"kind": "pull"},
        "annotations": {"a": "b"},
        "ownerReferences": [{"uid": "o"}],
    },
    "data": {"token": "eA=="},
}
OF_RULE = {
    "app.kubernetes.io/managed-by": "kyverno",
    "generate.kyverno.io/policy-name": "p",
    "generate.kyverno.io/policy-namespace": "",
    "generate.kyverno.io/rule-name": "r",
    "generate.kyverno.io/trigger-group": "",
    "generate.kyverno.io/trigger-version": "v1",
    "generate.kyverno.io/trigger-kind": "Namespace",
    "generate.kyverno.io/trigger-namespace": "",
    "generate.kyverno.io/trigger-uid": "u-1",
}
OF_SOURCE = {
    "generate.kyverno.io/clone-source": "",
    "generate.kyverno.io/source-group": "",
    "generate.kyverno.io/source-version": "v1",
    "generate.kyverno.io/source-kind": "Secret",
    "generate.kyverno.io/source-namespace": "vault",
    "generate.kyverno.io/source-uid": "u-2",
}
SELECTS = {"any": [{"resources": {"kinds": ["Namespace"], "selector": {"matchLabels": {"team": "*"}}}}]}
NAME = "{{ request.object.metadata.name }}"
TARGET = {"apiVersion": "v1", "kind": "ConfigMap", "name": "defaults", "namespace": NAME}
CLONE = {
    "apiVersion": "v1",
    "kind": "Secret",
    "name": "registry",
    "namespace": NAME,
    "clone": {"name": "registry", "namespace": "vault"},
}
WANTED_SECRET = needs.Object("v1", "Secret", "vault", "registry")


def compiled(generate, rule=None, **spec):
    rules = [{"name": "r", "match": SELECTS, "generate": generate, **(rule or {})}]
    return compiler.compile_policy(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": "p"},
            "spec": {"rules": rules, **spec},
        }
    )


def request(new=NAMESPACE, old=None, operation="CREATE"):
    return {
        "kind": {"group": "", "version": "v1", "kind": "Namespace"},
        "resource": {"group": "", "version": "v1", "resource": "namespaces"},
        "operation": operation,
        "object": new,
        "oldObject": old,
        "userInfo": {"username": "jane"},
    }


def plan(policy, seen=None, known=(), excepted=None):
    facts = needs.Facts()
    for need, value in dict(known).items():
        facts.add(need, value)
    ticks = itertools.count()
    arguments = ([policy], seen or request(), facts, budgets.Budget(), lambda: next(ticks))
    return planning.plan(*arguments, exceptions=excepted)


def only(planned):
    """The one result of the one rule, and what it wants."""
    ((result, objects),) = planned
    (rule,), (of_rule,) = result.rules, objects
    return rule, of_rule


def test_data_become_an_object_with_the_labels_that_say_why():
    data = {
        "metadata": {"name": "ignored", "labels": {"own": "1"}, "annotations": {"for": NAME}},
        "data": {"team": "{{ request.object.metadata.labels.team }}"},
    }
    result, (found,) = only(plan(compiled({**TARGET, "data": data})))
    assert (result.status, result.message) == ("pass", "")
    assert found.target == wanted.Reference("v1", "ConfigMap", "team-a", "defaults")
    assert found.source is None
    assert found.manifest == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "defaults",
            "namespace": "team-a",
            "labels": {"own": "1", **OF_RULE},
            "annotations": {"for": "team-a"},
        },
        "data": {"team": "a"},
    }


@pytest.mark.parametrize("metadata", [["a"], "a", {"labels": ["a"]}, {"labels": {"text": "a", "number": 1}}])
def test_metadata_or_labels_of_another_type_count_as_absent(metadata):
    """Kyverno reads labels that are not all text as no labels at all."""
    _, (found,) = only(plan(compiled({**TARGET, "data": {"metadata": metadata}})))
    assert found.manifest["metadata"] == {"name": "defaults", "namespace": "team-a", "labels": OF_RULE}


def test_a_cluster_scoped_object_has_no_namespace():
    generate = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "name": f"{NAME}-reader",
        "data": {"metadata": {"namespace": "no"}, "rules": []},
    }
    _, (found,) = only(plan(compiled(generate)))
    assert found.manifest["metadata"] == {"name": "team-a-reader", "labels": OF_RULE}
    assert str(found.target) == "rbac.authorization.k8s.io/v1/ClusterRole//team-a-reader"


def test_a_clone_is_asked_for_and_loses_what_only_its_source_can_have():
    policy = compiled(CLONE)
    with pytest.raises(needs.Needed) as asked:
        plan(policy)
    assert asked.value.need == WANTED_SECRET
    _, (found,) = only(plan(policy, known={WANTED_SECRET: SECRET}))
    assert found.source == wanted.Reference("v1", "Secret", "vault", "registry")
    assert found.manifest == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "registry",
            "namespace": "team-a",
            "labels": {"kind": "pull", **OF_SOURCE, **OF_RULE},
            "annotations": {"a": "b"},
        },
        "data": {"token": "eA=="},
    }
    assert SECRET["metadata"]["labels"] == {"kind": "pull"}


def test_a_clone_of_an_object_that_is_not_there_is_an_error():
    result, objects = only(plan(compiled(CLONE), known={WANTED_SECRET: None}))
    assert result.status == "error"
    assert result.message == 'source resource v1/Secret/team-a/registry not found: Secret "registry" not found'
    assert objects == ()


def test_an_object_is_not_cloned_onto_itself():
    result, objects = only(plan(compiled({**CLONE, "clone": {"name": "registry", "namespace": "team-a"}})))
    assert (result.status, objects) == ("pass", ())


def test_a_list_of_clones_keeps_the_names_of_its_sources():
    clone_list = {"kinds": ["v1/Secret"], "namespace": "vault", "selector": {"matchLabels": {"kind": "pull"}}}
    listed = needs.Objects("v1", "Secret", "vault", '{"matchLabels":{"kind":"pull"}}')
    other = {**SECRET, "metadata": {**SECRET["metadata"], "name": "other"}}
    own = {**SECRET, "metadata": {**SECRET["metadata"], "namespace": "team-a"}}
    policy = compiled({"namespace": NAME, "cloneList": clone_list})
    _, found = only(plan(policy, known={listed: [SECRET, other, own]}))
    assert [str(each.target) for each in found] == ["v1/Secret/team-a/registry", "v1/Secret/team-a/other"]
    assert [each.source.name for each in found if each.source] == ["registry", "other"]


def test_each_element_of_a_list_wants_its_object():
    generate = {
        "foreach": [
            {
                "list": "split(request.object.metadata.annotations.copies, ',')",
                "context": [{"name": "suffix", "variable": {"jmesPath": "to_upper(element)"}}],
                "preconditions": {"all": [{"key": "{{ element }}", "operator": "NotEquals", "value": "y"}]},
                **TARGET,
                "name": "{{ element }}-{{ elementIndex }}",
                "data": {"data": {"suffix": "{{ suffix }}"}},
            },
            {"list": "['z']", **TARGET, "name": "{{ element }}", "data": {}},
        ]
    }
    _, found = only(plan(compiled(generate)))
    assert [each.target.name for each in found] == ["x-0", "z"]
    assert found[0].manifest["data"] == {"suffix": "X"}


def test_elements_that_fail_do_not_take_the_others_with_them():
    generate = {
        "foreach": [
            {"list": "nosuch.list", **TARGET, "data": {"data": {}}},
            {"list": "[request.object, request.object]", **TARGET, "data": {"a": "{{ element.nosuch }}"}},
            {"list": "['z']", **TARGET, "name": "{{ element }}", "data": {"data": {}}},
        ]
    }
    result, found = only(plan(compiled(generate)))
    assert result.status == "error"
    assert result.message.startswith("failed to evaluate 0 foreach list: ")
    assert "failed to process 1 foreach in rule r: failed to process 0 element: " in result.message
    assert "failed to process 1 element: " in result.message
    assert [each.target.name for each in found] == ["z"]


@pytest.mark.parametrize(
    "generate",
    [
        {**TARGET, "data": "{{ request.object.metadata.name }}"},
        {**TARGET, "data": {"a": "{{ request.object.nosuch.field }}"}},
        {**TARGET, "name": "{{ request.object.metadata.labels }}", "data": {"data": {}}},
    ],
)
def test_what_cannot_be_described_is_an_error(generate):
    result, found = only(plan(compiled(generate)))
    assert (result.status, found) == ("error", ())
    assert result.exception is None


def test_a_rule_that_names_no_source_wants_nothing():
    result, found = only(plan(compiled(TARGET)))
    assert (result.status, found) == ("pass", ())


UNLABELLED = {**NAMESPACE, "metadata": {"name": "team-a", "uid": "u-1"}}
DATA = {**TARGET, "data": {"data": {}}}
OPEN = {
    "preconditions": {
        "all": [{"key": "{{ request.object.metadata.annotations.copies || '' }}", "operator": "Equals", "value": "x,y"}]
    }
}
CLOSED = {**NAMESPACE, "metadata": {"name": "team-a", "uid": "u-1", "labels": {"team": "a"}}}
DELETING = {"match": {"any": [{"resources": {"kinds": ["Namespace"], "operations": ["DELETE"]}}]}}


@pytest.mark.parametrize(
    ("rule", "seen", "status"),
    [
        ({}, request(UNLABELLED), None),
        ({}, request(UNLABELLED, NAMESPACE, "UPDATE"), "fail"),
        ({}, request(NAMESPACE, UNLABELLED, "UPDATE"), "pass"),
        ({}, request(None, NAMESPACE, "DELETE"), "fail"),
        ({}, request(None, UNLABELLED, "DELETE"), None),
        (DELETING, request(None, NAMESPACE, "DELETE"), "pass"),
        (DELETING, request(NAMESPACE, NAMESPACE, "UPDATE"), None),
        (OPEN, request(CLOSED), "skip"),
        (OPEN, request(CLOSED, NAMESPACE, "UPDATE"), "fail"),
        (OPEN, request(CLOSED, CLOSED, "UPDATE"), "skip"),
    ],
)
def test_an_object_that_is_no_trigger_any_more_fails_its_rule(rule, seen, status):
    """A failure wants nothing: what was generated has lost its reason."""
    planned = plan(compiled(DATA, rule), seen)
    if status is None:
        assert planned == ()
        return
    result, found = only(planned)
    assert result.status == status
    assert bool(found) is (status == "pass")


def test_an_exception_ends_a_rule_whatever_the_object_was():
    excepted = exceptions.compile_exception(
        {
            "apiVersion": "kyverno.io/v2",
            "kind": "PolicyException",
            "metadata": {"name": "e", "namespace": "ops"},
            "spec": {
                "match": {"any": [{"resources": {"kinds": ["Namespace"]}}]},
                "exceptions": [{"policyName": "p", "ruleNames": ["r"]}],
            },
        }
    )
    seen = request(NAMESPACE, NAMESPACE, "UPDATE")
    result, found = only(plan(compiled(DATA), seen, excepted=exceptions.Exceptions([excepted])))
    assert (result.status, found) == (outcome.SKIP, ())


def test_of_several_rules_one_is_enough_where_the_policy_says_so():
    rules = [{"name": f"r{index}", "match": SELECTS, "generate": DATA} for index in range(2)]
    for apply_rules, names in (("One", ["r0"]), ("All", ["r0", "r1"])):
        policy = compiler.compile_policy(
            {
                "apiVersion": "kyverno.io/v1",
                "kind": "ClusterPolicy",
                "metadata": {"name": "p"},
                "spec": {"rules": rules, "applyRules": apply_rules},
            }
        )
        ((result, _),) = plan(policy)
        assert [each.rule.name for each in result.rules] == names


def test_a_policy_that_lacks_a_fact_goes_on_where_it_asked():
    """What was planned before is not planned again, and every step is told once."""

    class Watcher(list):
        def extend(self, steps):
            super().extend(step[0] for step in steps)

    facts, watcher, ticks = needs.Facts(), Watcher(), itertools.count()
    policies = [compiled(DATA), compiled(CLONE)]
    running = planning.Planning(policies, request(), facts, budgets.Budget(), lambda: next(ticks), watcher)
    with pytest.raises(needs.Needed):
        running.run()
    facts.add(WANTED_SECRET, SECRET)
    assert [each.wanted[0][0].target.kind for each in running.run()] == ["ConfigMap", "Secret"]
    assert watcher.count(0) == 2


def test_how_an_object_is_kept_in_step_is_kept_for_those_who_write_it():
    said = {"synchronize": True, "orphanDownstreamOnPolicyDelete": True, "generateExisting": False}
    policy = compiled({**DATA, **said}, generateExisting=True, useServerSideApply=True)
    (rule,) = policy.generate.every
    assert (rule.body.synchronize, rule.body.orphans_downstream, rule.body.generates_existing) == (True, True, False)
    assert (policy.generates_existing, policy.server_side_apply) == (True, True)
    (rule,) = compiled(DATA).generate.every
    assert (rule.body.synchronize, rule.body.orphans_downstream, rule.body.generates_existing) == (False, False, None)


def test_labels_name_the_namespace_of_a_policy():
    assert labels.of_rule("p", "shop", "r")["generate.kyverno.io/policy-namespace"] == "shop"
