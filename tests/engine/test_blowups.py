"""Small documents that stand for enormous work: each ends within its budget, by an outcome or a refusal."""

import itertools
import time

import pytest

from kymograph.engine import budget as budgets
from kymograph.engine import compile as compiler
from kymograph.engine import errors, evaluate, needs, wellformed

SECONDS = 10.0
"""Of the processor, on a busy machine; without a budget these take hours or all of the memory."""


def nested(levels, innermost="x"):
    value = innermost
    for _ in range(levels):
        value = {"a": value}
    return value


def bomb(levels, width=10):
    """A list of lists of lists, all the same: `width ** levels` values in a few kilobytes."""
    value = ["x"] * width
    for _ in range(levels):
        value = [value] * width
    return value


def maps(levels, width):
    """A list of maps that hold lists of maps, all the same."""
    value = "x"
    for _ in range(levels):
        value = [{"a": value}] * width
    return value


def document(validate):
    match = {"any": [{"resources": {"kinds": ["ConfigMap"]}}]}
    return {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": {"name": "p"},
        "spec": {"background": False, "rules": [{"name": "r", "match": match, "validate": validate}]},
    }


def denied(key, operator="Equals", value="x"):
    return {"deny": {"conditions": {"any": [{"key": key, "operator": operator, "value": value}]}}}


def run(validate, data):
    """The result of a rule for a ConfigMap; fails if that took too long."""
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "shop"}, "data": data}
    request = {
        "kind": kind,
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "namespace": "shop",
        "operation": "CREATE",
        "object": made,
        "oldObject": None,
    }
    started = time.thread_time()
    policy = compiler.compile_policy(document(validate))
    budget = budgets.Budget(steps=300_000, size=8 * 1024 * 1024)
    ((result,),) = [
        each.rules for each in evaluate.evaluate([policy], request, needs.Facts(), budget, itertools.count().__next__)
    ]
    assert time.thread_time() - started < SECONDS
    assert result.exception is None
    return result


WIDE = {f"key-{index}": "value" for index in range(10_000)}


@pytest.mark.parametrize(
    ("validate", "data", "status"),
    [
        ({"pattern": {"data": nested(90)}}, nested(90), "pass"),
        ({"pattern": {"data": nested(90)}}, nested(50), "fail"),
        ({"pattern": {"data": "?*"}}, nested(5_000), "fail"),
        (denied("{{ request.object.data }}"), nested(5_000), "pass"),
        (denied("{{ to_string(request.object.data) }}"), nested(100_000), "error"),
        ({"pattern": {"data": WIDE}}, WIDE, "pass"),
        ({"pattern": {"data": {"k*": "value"}}}, WIDE, "fail"),
        ({"pattern": {"data": {"a": "*a" * 200 + "b"}}}, {"a": "a" * 100_000}, "fail"),
        ({"pattern": {"data": {"a": "|".join(["*x*y*"] * 500)}}}, {"a": "x" * 20_000}, "fail"),
        (denied("{{ regex_match('^(a+)+$', request.object.data.a) }}", value=True), {"a": "a" * 50_000 + "!"}, "pass"),
        (denied("{{ regex_match('(x+x+)+y', request.object.data.a) }}", value=True), {"a": "x" * 50_000}, "pass"),
        (denied("{{ request.object.data.a }}", "AnyIn", ["*a" * 50 + "b"] * 200), {"a": "a" * 5_000}, "pass"),
        (denied("{{ length(request.object.data.*[]) }}", "GreaterThan", 1), bomb(7), "error"),
        (denied("{{ request.object.data[][][][][][][] }}", "AnyIn", ["y"]), bomb(7), "error"),
        (denied("{{ to_string(request.object.data) }}"), bomb(8), "error"),
        ({"pattern": {"data": maps(8, 1)}}, maps(8, 10), "error"),
    ],
)
def test_an_evaluation_ends_within_its_budget(validate, data, status):
    assert run(validate, data).status == status


def test_a_rule_that_expands_variables_again_and_again_ends_within_its_budget():
    data = {"a": "{{ request.object.data.b }}" * 1_000, "b": "{{ request.object.data.c }}" * 1_000, "c": "x" * 1_000}
    assert run(denied("{{ request.object.data.a }}"), data).status in {"pass", "error"}


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (nested(wellformed.DEEPEST), f"is nested deeper than {wellformed.DEEPEST} levels"),
        (nested(100_000), f"is nested deeper than {wellformed.DEEPEST} levels"),
        (bomb(12), f"the document has more than {wellformed.LARGEST} values"),
        ({"a": 1 << 64}, "is a number beyond 64 bits"),
        ({"a": float("nan")}, "is no finite number"),
        ({1: "a"}, "has the key 1, which is no text"),
        ({"a": b"x"}, "is a bytes, which JSON does not know"),
    ],
    ids=["deep", "deeper", "aliases", "integer", "nan", "key", "bytes"],
)
def test_a_document_that_is_no_json_of_a_sane_size_is_refused(pattern, reason):
    started = time.thread_time()
    with pytest.raises(errors.PolicyInvalid) as caught:
        compiler.compile_policy(document({"pattern": pattern}))
    (problem,) = caught.value.problems
    assert problem.reason == reason
    assert problem.path.startswith("spec.rules[0].validate.pattern")
    assert time.thread_time() - started < SECONDS
