"""`validate.foreach`: every element of some lists must pass."""

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, evaluate, needs


def pod(*images, **spec):
    containers = [
        {"name": f"c{n}", "image": image, "ports": [{"port": n}, {"port": n + 1}]} for n, image in enumerate(images)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "d"},
        "spec": {"containers": containers, **spec},
    }


def run(*loops, resource=None, operation="CREATE", **rule):
    validate = {"message": "no", "foreach": list(loops)}
    document = {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "background": False,
            "rules": [
                {"name": "r", "match": {"any": [{"resources": {"kinds": ["Pod"]}}]}, "validate": validate, **rule}
            ],
        },
    }
    compiled = compiler.compile_policy(document)
    resource = pod("a:1", "b:latest") if resource is None else resource
    deletes = operation == "DELETE"
    request = {
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": operation,
        "namespace": "d",
        "object": None if deletes else resource,
        "oldObject": resource if deletes else None,
    }
    results = evaluate.evaluate((compiled,), request, needs.Facts(), budgets.Budget(), iter(range(10_000)).__next__)
    return next(((rule.status, rule.message) for result in results for rule in result.rules), None)


def denies(key, value, **more):
    conditions = {"any": [{"key": key, "operator": "Equals", "value": value, "message": "{{ element.name }}"}]}
    return {"list": "request.object.spec.containers", "deny": {"conditions": conditions}, **more}


NO_MAP = "cannot use elementScope=true foreach rules for elements that are not maps, expected type=map got type=string"
PASSED = ("pass", "rule passed")


@pytest.mark.parametrize(
    ("loop", "found"),
    [
        (denies("{{ element.name }}", "nobody"), PASSED),
        (denies("{{ element.name }}", "c1"), ("fail", "validation failure: no; c1")),
        (denies("{{ elementIndex }}", 1), ("fail", "validation failure: no; c1")),
        (denies("{{ element0.name }}-{{ elementIndex0 }}", "c1-1"), ("fail", "validation failure: no; c1")),
        (
            {"list": "request.object.spec.containers", "pattern": {"image": "!*:latest"}},
            ("fail", "validation failure: validation error: no. rule r failed at path /image/"),
        ),
        (
            {"list": "request.object.spec.containers", "anyPattern": [{"image": "*:1"}, {"image": "*:2"}]},
            (
                "fail",
                "validation failure: validation error: no. "
                + " ".join(f"rule r[{index}] failed at path /image/" for index in range(2)),
            ),
        ),
        ({"list": "request.object.spec.nosuch", "pattern": {"a": "b"}}, None),
        ({"list": "request.object.spec.containers[?name == 'x']", "pattern": {"a": "b"}}, None),
        ({"list": "request.object.spec.containers[].image", "pattern": {"metadata": {"name": "a"}}}, PASSED),
        (
            {"list": "request.object.spec.containers[].image", "elementScope": True, "pattern": {"a": "b"}},
            (
                "error",
                "failed to process foreach: " + NO_MAP,
            ),
        ),
        (
            {"list": "request.object.spec.containers", "elementScope": False, "pattern": {"metadata": {"name": "a"}}},
            PASSED,
        ),
        (denies("{{ element.nosuch.field }}", "x"), "failed to check deny conditions"),
        (
            {"list": "sum(request.object.spec)", "pattern": {"a": "b"}},
            "failed to evaluate list: JMESPath query failed: Invalid type for: map[",
        ),
    ],
)
def test_what_becomes_of_a_loop(loop, found):
    if isinstance(found, str):
        status, message = run(loop)
        assert status == "error"
        assert found in message
    else:
        assert run(loop) == found


def test_elements_whose_preconditions_are_not_met_or_fail_do_not_count():
    unmet = {"all": [{"key": "{{ element.name }}", "operator": "Equals", "value": "c0"}]}
    assert run(denies("{{ element.name }}", "c1", preconditions=unmet)) == PASSED
    broken = {"all": [{"key": "{{ element.nosuch }}", "operator": "Equals", "value": "c0"}]}
    assert run(denies("{{ element.name }}", "c1", preconditions=broken)) is None


def test_nulls_are_passed_over_and_keep_their_place():
    loop = {**denies("{{ elementIndex }}", 2), "list": "[`null`, request.object.metadata, request.object.metadata]"}
    assert run(loop) == ("fail", "validation failure: no; a")


def test_a_value_that_is_no_list_is_its_only_element():
    loop = {**denies("{{ element.name }}", "a"), "list": "request.object.metadata"}
    assert run(loop) == ("fail", "validation failure: no; a")


def test_all_loops_count_and_the_first_failure_ends_the_rule():
    assert run(denies("{{ element.name }}", "x"), denies("{{ element.name }}", "c0")) == (
        "fail",
        "validation failure: no; c0",
    )


def test_context_entries_of_an_element_see_it():
    loop = denies(
        "{{ tag }}", "latest", context=[{"name": "tag", "variable": {"jmesPath": "split(element.image, ':')[1]"}}]
    )
    assert run(loop) == ("fail", "validation failure: no; c1")


def test_context_entries_of_the_rule_are_seen_within():
    loop = denies("{{ element.name }}", "{{ who }}")
    assert run(loop, context=[{"name": "who", "variable": {"value": "c1"}}]) == ("fail", "validation failure: no; c1")


def test_loops_within_loops_know_every_element_around_them():
    inner = {
        "list": "element.ports",
        "deny": {
            "conditions": {
                "any": [
                    {
                        "key": "{{ element0.name }}/{{ elementIndex0 }}/{{ element1.port }}/{{ elementIndex1 }}",
                        "operator": "Equals",
                        "value": "c1/1/2/1",
                    }
                ]
            }
        },
    }
    outer = {"list": "request.object.spec.containers", "foreach": [inner]}
    status, message = run(outer)
    assert (status, message[:40]) == ("fail", "validation failure: validation failure: ")


@pytest.mark.parametrize(
    ("loop", "found"),
    [
        ({**denies("{{ element.name }}", "c1"), "list": "request.oldObject.spec.containers"}, "fail"),
        ({"list": "request.oldObject.spec.containers", "pattern": {"image": "!*:latest"}}, "fail"),
        ({"list": "request.oldObject.spec.containers[].name", "pattern": {"a": "b"}}, None),
    ],
)
def test_elements_are_looked_at_on_delete_and_the_object_is_not(loop, found):
    result = run(loop, operation="DELETE")
    assert (result and result[0]) == found


@pytest.mark.parametrize(
    ("loop", "reason"),
    [
        ({"pattern": {}}, "spec.rules[0].validate.foreach[0].list: foreach.list is required"),
        ({"list": "a["}, "spec.rules[0].validate.foreach[0].list: failed to parse JMESPath a["),
        ({"list": "a"}, "one of pattern, anyPattern, deny, or a nested foreach must be specified"),
        ({"list": "a", "pattern": {}, "deny": {}}, "only one of pattern, anyPattern, deny, or a nested foreach can be"),
        ({"list": "a", "pattren": {}}, "unknown field; did you mean 'pattern'?"),
        (
            {"list": "a", "foreach": [{"list": "b", "podSecurity": {}}]},
            "foreach[0].foreach[0].podSecurity: unknown field",
        ),
    ],
)
def test_a_loop_that_cannot_be_meant_is_refused(loop, reason):
    with pytest.raises(errors.PolicyInvalid) as invalid:
        run(loop)
    assert reason in str(invalid.value)


def test_a_list_that_is_too_long_ends_with_the_budget():
    images = [f"i{n}" for n in range(500)]
    document = pod(*images)
    status, message = run(denies("{{ element.name }}", "x"), resource=document)
    assert (status, message) == PASSED
