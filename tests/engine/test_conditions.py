"""Conditions: the two forms, every operator with its coercions, messages, and what is refused.

The tables of operators were checked against Kyverno's own.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.engine import budget, conditions, errors
from kymograph.engine.conditions import operators


def holds(key: object, operator: str, value: object) -> bool:
    purse = budget.Budget()
    return operators.TABLE[operator](value, purse)(key, purse)


def condition(key: object, operator: str, value: object, message: str = "") -> dict[str, object]:
    return {"key": key, "operator": operator, "value": value, "message": message}


@pytest.mark.parametrize(
    ("key", "value", "equal"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("nginx:1", "nginx*", True),
        ("nginx*", "nginx:1", False),
        ("", "", True),
        ("", "*", True),
        ("1h", "60m", True),
        ("1h", 3600, True),
        (3600, "1h", False),
        ("0", "0s", False),
        ("1Gi", "1024Mi", True),
        ("1", "1.0", True),
        ("5", "*", False),
        ("5", 5, False),
        (5, "5", True),
        (5, "5.0", True),
        (5, 5.0, True),
        (0.5, "0.5", True),
        (5, "five", False),
        (True, True, True),
        (True, "true", False),
        (True, 1, False),
        (1, True, False),
        (None, None, False),
        (None, "", False),
        ([1, "a"], [1.0, "a"], True),
        ([True], [1], False),
        ([], {}, False),
        ({"a": [1]}, {"a": [1]}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ("a", ["a"], False),
    ],
)
def test_equality(key: object, value: object, equal: bool) -> None:
    assert holds(key, "Equals", value) is equal
    assert holds(key, "NotEquals", value) is (not equal and key is not None)


@pytest.mark.parametrize(
    ("key", "value", "any_in", "all_in", "any_not_in", "all_not_in"),
    [
        ("a", ["a", "b"], True, True, False, False),
        ("c", ["a", "b"], False, False, True, True),
        (["a", "c"], ["a", "b"], True, False, True, False),
        (["a"], ["a", "b"], True, True, False, False),
        (["c"], ["a", "b"], False, False, True, True),
        ([], ["a"], False, True, False, True),
        ("nginx:1", ["nginx*"], True, True, False, False),
        ("ngin*", ["nginx"], True, True, False, False),
        (["x", "ngin*"], ["nginx"], True, False, True, False),
        (80, ["80"], True, True, False, False),
        (True, ["true"], True, True, False, False),
        (["a", 1], "a", True, False, True, False),
        ("a", '["a", "b"]', True, True, False, False),
        (["a", "c"], '["a", "b"]', True, False, True, False),
        ("a", "a*", True, True, False, False),
        ("5", "1-10", True, True, False, False),
        ("15", "1-10", False, False, True, True),
        (["5", "15"], "1-10", True, False, True, False),
        (["text"], "1-10", False, False, False, True),
        ("2h", "1h-3h", True, True, False, False),
        ("81", "80", False, False, False, False),
        ("80", "80", True, True, False, False),
        (["a"], 5, False, False, True, False),
        ("a", 5, False, False, False, False),
        (None, ["a"], False, False, False, False),
        ({"a": 1}, ["a"], False, False, False, False),
        ("a", None, False, False, False, False),
        ([None], ["<nil>"], True, True, False, False),
    ],
)
def test_membership(key: object, value: object, any_in: bool, all_in: bool, any_not_in: bool, all_not_in: bool) -> None:
    assert holds(key, "AnyIn", value) is any_in
    assert holds(key, "AllIn", value) is all_in
    assert holds(key, "AnyNotIn", value) is any_not_in
    assert holds(key, "AllNotIn", value) is all_not_in


@pytest.mark.parametrize(
    ("key", "value", "inside", "outside"),
    [
        ("a", ["a", "b"], True, False),
        ("c", ["a", "b"], False, True),
        ("nginx", ["ngin*"], True, False),
        (["a", "b"], ["a", "b", "c"], True, False),
        (["a", "x"], ["a", "b"], False, True),
        (["nginx"], ["ngin*"], False, True),
        (["a", 1], ["a"], False, False),
        ("a", "a*", True, False),
        ("b", "a", False, False),
        ("5", "1-10", False, False),
        (["a"], "a", True, True),
        ("a", '["a"]', True, False),
        (None, ["a"], False, False),
    ],
)
def test_the_deprecated_membership(key: object, value: object, inside: bool, outside: bool) -> None:
    assert holds(key, "In", value) is inside
    assert holds(key, "NotIn", value) is outside


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (1, 2),
        (1, 1.5),
        ("1", 2),
        (1, "2"),
        ("1", "2"),
        ("9", "10"),
        ("1h", "90m"),
        ("30m", 3600),
        (10, "1m"),
        ("500Mi", "1Gi"),
        ("100m", "1"),
        ("1e1", "11"),
        ("1.0.0-rc.1", "1.0.0"),
        ("1.9.0", "1.10.0"),
    ],
)
def test_order(smaller: object, larger: object) -> None:
    for left, right, less in ((smaller, larger, True), (larger, smaller, False)):
        assert holds(left, "LessThan", right) is less
        assert holds(left, "LessThanOrEquals", right) is less
        assert holds(left, "GreaterThan", right) is not less
        assert holds(left, "GreaterThanOrEquals", right) is not less


@pytest.mark.parametrize(
    ("key", "value"), [(1, 1.0), ("1h", "60m"), ("1Gi", "1024Mi"), ("1.0.0", "1.0.0+x"), ("60", 60)]
)
def test_order_of_equals(key: object, value: object) -> None:
    assert holds(key, "LessThanOrEquals", value)
    assert holds(key, "GreaterThanOrEquals", value)
    assert not holds(key, "LessThan", value)
    assert not holds(key, "GreaterThan", value)


@pytest.mark.parametrize(
    ("key", "value"), [("a", "b"), (None, 1), (1, None), (True, 0), (1, True), ([1], 0), ("1.0", "1.0.0"), ("1h", "x")]
)
@pytest.mark.parametrize("operator", ["LessThan", "LessThanOrEquals", "GreaterThan", "GreaterThanOrEquals"])
def test_what_has_no_order_is_false(key: object, value: object, operator: str) -> None:
    assert not holds(key, operator, value)


@pytest.mark.parametrize(
    ("key", "operator", "value", "result"),
    [
        ("1h", "DurationGreaterThan", "30m", True),
        ("1h", "DurationGreaterThanOrEquals", 3600, True),
        (10, "DurationLessThan", "1m", True),
        (10.9, "DurationLessThanOrEquals", 10, True),
        ("0", "DurationLessThan", "1s", True),
        ("1Gi", "DurationLessThan", "1h", False),
        ("1h", "DurationLessThan", "1Gi", False),
        (None, "DurationLessThan", "1h", False),
    ],
)
def test_the_deprecated_durations(key: object, operator: str, value: object, result: bool) -> None:
    assert holds(key, operator, value) is result


LARGE = {"uid": 1000620000, "uids": [1000620000, 2], "pair": [1, 2]}


@pytest.mark.parametrize(
    ("key", "operator", "value", "result"),
    [
        ("{{ uid }}", "AnyIn", ["1000620000"], False),
        ("{{ uid }}", "AnyIn", ["1.00062e+09"], True),
        ("{{ uid }}", "AnyIn", "{{ uids }}", True),
        ("{{ uid }}", "AnyIn", "1-2000000000", True),
        ("{{ uid }}", "Equals", 1000620000, True),
        ("{{ uid }}", "Equals", "1000620000", True),
        ("{{ uids }}", "AllIn", [1000620000, 2], False),
        (1000620000, "AnyIn", [1000620000], False),
        ([1000620000], "AnyIn", [1000620000], True),
        ("{{ pair }}", "AllIn", [1, 2], True),
        ("{{ pair }}", "Equals", [1, 2], False),
        ("{{ pair }}", "NotEquals", [1, 2], True),
        ("{{ pair }}", "Equals", "{{ pair }}", True),
        ([1, 2], "Equals", [1, 2], True),
    ],
)
def test_numbers_are_floats_unless_a_list_of_the_policy_holds_them(key, operator, value, result) -> None:
    """Go writes large floats with an exponent, and tells `[]any{int64}` from `[]any{float64}`; so do policies."""
    compiled = conditions.compile([condition(key, operator, value)], "spec")
    assert compiled.evaluate(LARGE, budget.Budget())[0] is result


CONTEXT = {
    "request": {"operation": "CREATE", "object": {"n": 3, "names": ["a", "b"], "limit": "2Gi"}},
    "allowed": ["a", "x*"],
}
TRUE = condition("{{ request.object.n }}", "GreaterThan", 2, "n is large")
FALSE = condition("{{ request.operation }}", "Equals", "DELETE", "not a deletion")
MISSING = condition("{{ request.object.gone }}", "Equals", "x", "never")


@pytest.mark.parametrize(
    ("document", "result", "message"),
    [
        (None, True, ""),
        ({}, True, ""),
        ([], True, ""),
        ({"any": [], "all": []}, False, ""),
        ({"all": []}, True, ""),
        ({"any": [TRUE]}, True, "n is large"),
        ({"any": [FALSE, TRUE]}, True, "n is large"),
        ({"any": [FALSE]}, False, "not a deletion"),
        ({"any": [TRUE, MISSING]}, True, "n is large"),
        ({"all": [TRUE]}, True, "n is large"),
        ({"all": [TRUE, TRUE]}, True, "n is large; n is large"),
        ({"all": [TRUE, FALSE]}, False, "not a deletion"),
        ({"all": [FALSE, MISSING]}, False, "not a deletion"),
        ({"any": [TRUE], "all": [FALSE]}, False, "not a deletion"),
        ({"any": [FALSE], "all": [FALSE]}, False, "not a deletion; not a deletion"),
        ({"any": [FALSE], "all": [TRUE]}, False, "not a deletion"),
        ([TRUE], True, "n is large"),
        ([TRUE, TRUE], True, "n is large;n is large"),
        ([TRUE, FALSE], False, "not a deletion"),
    ],
)
def test_forms(document: object, result: bool, message: str) -> None:
    compiled = conditions.compile(document, "spec.rules[0].preconditions")
    assert compiled.evaluate(CONTEXT, budget.Budget()) == (result, message)


@pytest.mark.parametrize(
    ("key", "operator", "value", "result"),
    [
        ("{{ request.object.names }}", "AllIn", "{{ allowed }}", False),
        ("{{ request.object.names }}", "AnyIn", "{{ allowed }}", True),
        ("a", "AnyIn", "{{ request.object.names }}", True),
        ("x-{{ request.object.n }}", "Equals", "x-3", True),
        ("{{ request.object.limit }}", "GreaterThan", "1Gi", True),
        ("literal", "Equals", "liter*", True),
        ("{{ request.object.names[] }}", "AllIn", ["a", "{{ request.object.names[1] }}"], True),
        ({"k": "{{ request.object.n }}"}, "Equals", {"k": "{{ request.object.n }}"}, True),
    ],
)
def test_variables_in_keys_and_values(key: object, operator: str, value: object, result: bool) -> None:
    compiled = conditions.compile([condition(key, operator, value)], "spec")
    assert compiled.evaluate(CONTEXT, budget.Budget())[0] is result


@pytest.mark.parametrize(
    ("document", "part"),
    [(condition("{{ gone }}", "Equals", "x"), "key"), (condition("x", "Equals", "{{ gone }}"), "value")],
)
def test_an_unresolved_variable_is_an_error(document: dict[str, object], part: str) -> None:
    compiled = conditions.compile([document], "spec")
    with pytest.raises(errors.NotFoundInPath) as failed:
        compiled.evaluate(CONTEXT, budget.Budget())
    assert str(failed.value) == (
        f"failed to substitute variables in condition {part}: failed to resolve gone at path : "
        'JMESPath query failed: Unknown key "gone" in path'
    )


def test_everything_that_is_wrong_is_told_at_once() -> None:
    document = {
        "any": [
            condition("x", "Equal To", "y"),
            condition("{{ foo(@) }}", "Equals", "{{ }}"),
            {"key": "x", "operater": "Equals", "value": "y"},
        ],
        "all": [condition("{{ request.operation }}", "AnyIn", ["CREATE", "PATCH"]), "no condition"],
        "none": [],
    }
    with pytest.raises(errors.PolicyInvalid) as refused:
        conditions.compile(document, "spec.rules[0].validate.deny.conditions")
    found = {
        (problem.path.removeprefix("spec.rules[0].validate.deny.conditions."), problem.reason[:40])
        for problem in refused.value.problems
    }
    assert found == {
        ("any[0].operator", "entered value of `operator` is invalid. "),
        ("any[1].key", "invalid JMESPath 'foo(@)' at character 0"),
        ("any[1].value", "invalid JMESPath '' at character 0: it is empty"[:40]),
        ("any[2].operater", "unknown field of a condition"),
        ("any[2]", "entered value of `key`, `value` or `operator` is missing"[:40]),
        ("all[0].value", "unknown value 'PATCH' found under the 'value'"[:40]),
        ("all[1]", "must be a condition: a map with key, operator"[:40]),
        ("none", "unknown field: conditions are under any and all"[:40]),
    }


@pytest.mark.parametrize("document", ["text", 5, {"any": {"key": "x"}}])
def test_other_documents_are_refused(document: object) -> None:
    with pytest.raises(errors.PolicyInvalid):
        conditions.compile(document, "spec")


def test_expressions_are_listed() -> None:
    compiled = conditions.compile({"all": [TRUE, condition("{{ a }}", "Equals", "{{ b }}")]}, "spec")
    assert compiled.expressions == ("request.object.n", "a", "b")


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(["a", "*", "?", "1-5", "2", "1h", "1Gi", '["a"]', "null", ""])
)
anything = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from("ab"), scalars, max_size=2)


@given(anything, st.sampled_from(sorted(operators.TABLE)), anything)
def test_a_literal_value_means_what_the_same_value_means_out_of_the_context(
    key: object, operator: str, value: object
) -> None:
    """Preparing at compile time and for each request gives one result, and no pair of values breaks an operator."""
    dynamic = conditions.compile([condition("{{ key }}", operator, "{{ value }}")], "spec")
    assert dynamic.evaluate({"key": key, "value": value}, budget.Budget())[0] is holds(key, operator, value)


def test_hostile_keys_and_values_are_paid_for() -> None:
    compiled = conditions.compile([condition("{{ key }}", "AnyIn", "{{ values }}")], "spec")
    context = {"key": "*a?" * 20_000, "values": ["a" * 100_000] * 10}
    with pytest.raises(errors.BudgetExhausted):
        compiled.evaluate(context, budget.Budget())


@pytest.mark.parametrize("operator", ["Equals", "AnyIn", "AllNotIn"])
def test_a_deep_value_is_an_error_not_a_crash(operator: str) -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    compiled = conditions.compile([condition("{{ key }}", operator, "{{ value }}")], "spec")
    with pytest.raises(errors.EvaluationError, match="nested too deeply"):
        compiled.evaluate({"key": [deep], "value": [deep] if operator != "Equals" else [[deep[0]]]}, budget.Budget())


@pytest.mark.parametrize("document", [[{"any": [TRUE]}, {"all": [TRUE]}], [{"any": [TRUE]}]])
def test_a_list_of_blocks_is_refused(document: list[object]) -> None:
    """Kyverno reads a list as conditions, and finds blocks to be conditions with nothing in them."""
    with pytest.raises(errors.PolicyInvalid) as raised:
        conditions.compile(document, "spec")
    reason = "entered value of `key`, `value` or `operator` is missing or misspelled"
    assert [each.reason for each in raised.value.problems] == [reason] * len(document)


@pytest.mark.parametrize("name", ["equals", "EQUALS", "anyIn"])
def test_operators_are_written_exactly(name: str) -> None:
    with pytest.raises(errors.PolicyInvalid, match="entered value of `operator` is invalid"):
        conditions.compile([condition("a", name, "b")], "spec")
