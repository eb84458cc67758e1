"""The standard functions: results, and the errors for what they do not take."""

import jmespath as library
import pytest

from kymograph.engine import budget, errors, jmespath
from kymograph.engine.jmespath import functions

DATA = {
    "n": -1.5,
    "s": "h\u00e9llo",
    "numbers": [3, 1, 2],
    "strings": ["b", "a"],
    "mixed": [1, "a"],
    "people": [{"n": "x", "a": 3}, {"n": "y", "a": 1}, {"n": "z", "a": 3}],
    "map": {"a": 1, "b": None},
    "none": None,
    "yes": True,
}


def search(expression: str) -> object:
    return jmespath.compile(expression).search(DATA, budget.Budget())


@pytest.mark.parametrize(
    "expression",
    [
        "abs(n)",
        "avg(numbers)",
        "ceil(n)",
        "contains(s, 'll')",
        "contains(numbers, `3`)",
        "contains(strings, 'c')",
        'contains(people, `{"n": "y", "a": 1}`)',
        "ends_with(s, 'lo')",
        "floor(n)",
        "join('-', strings)",
        "join('-', `[]`)",
        "keys(map)",
        "length(s)",
        "length(numbers)",
        "length(map)",
        "map(&a, people)",
        "max(numbers)",
        "max(strings)",
        "max(`[]`)",
        "max_by(people, &a)",
        "max_by(`[]`, &a)",
        'merge(map, `{"a": 2}`)',
        "min(numbers)",
        "min_by(people, &a)",
        "min_by(people, &n).n",
        "not_null(none, s)",
        "not_null(none)",
        "reverse(s)",
        "reverse(numbers)",
        "sort(numbers)",
        "sort(strings)",
        "sort_by(people, &a)[].n",
        "sort_by(people, &n)[].n",
        "starts_with(s, 'h')",
        "sum(numbers)",
        "to_array(s)",
        "to_array(numbers)",
        "to_number('12')",
        "to_number('1.5')",
        "to_number('x')",
        "to_number(yes)",
        "to_string(s)",
        "type(n)",
        "type(s)",
        "type(numbers)",
        "type(map)",
        "type(none)",
        "type(yes)",
        "values(map)",
    ],
)
def test_agrees_with_the_library(expression: str) -> None:
    assert search(expression) == library.search(expression, DATA)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("avg(`[]`)", None),
        ("avg(`[1, 3]`)", 2),
        ("ceil(to_number('inf'))", float("inf")),
        ("floor(to_number('-inf'))", float("-inf")),
        ("contains(s, `1`)", False),
        ('to_string(`{"b": 1, "a": [1.0, 1.5, true, null]}`)', '{"a":[1,1.5,true,null],"b":1}'),
        ('to_string(`["<a & b>"]`)', '["\\u003ca \\u0026 b\\u003e"]'),
        ("to_string(none)", "null"),
        ("to_string(yes)", "true"),
        ("to_number('1e3')", 1000.0),
        ("to_number('0x10')", None),
        ("contains(`[true]`, `1`)", False),
    ],
)
def test_is_the_forks(expression: str, result: object) -> None:
    assert search(expression) == result


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("length(none)", 'Invalid type for: <nil>, expected: []jmespath.JpType{"string", "array", "object"}'),
        ("length(n)", 'Invalid type for: -1.5, expected: []jmespath.JpType{"string", "array", "object"}'),
        ("abs(s)", 'Invalid type for: héllo, expected: []jmespath.JpType{"number"}'),
        ("abs(yes)", 'Invalid type for: true, expected: []jmespath.JpType{"number"}'),
        ("join('-', mixed)", 'Invalid type for: [1 a], expected: []jmespath.JpType{"array[string]"}'),
        ("sum(map)", 'Invalid type for: map[a:1 b:<nil>], expected: []jmespath.JpType{"array"}'),
        ("sort(mixed)", 'Invalid type for: [1 a], expected: []jmespath.JpType{"array[string]", "array[number]"}'),
        (
            "sort(map)",
            'Invalid type for: map[a:1 b:<nil>], expected: []jmespath.JpType{"array[string]", "array[number]"}',
        ),
        ("contains(none, s)", 'Invalid type for: <nil>, expected: []jmespath.JpType{"array", "string"}'),
        ("merge(map, s)", 'Invalid type for: héllo, expected: []jmespath.JpType{"object"}'),
        ("map(&a, map)", 'Invalid type for: map[a:1 b:<nil>], expected: []jmespath.JpType{"array"}'),
        ("sort_by(people, &none)", "invalid type, must be number of string"),
        ('sort_by(`[{"a": 1}, {"a": "x"}]`, &a)', "error in sort_by comparison"),
        ('max_by(`[{"a": 1}, {"a": "x"}]`, &a)', "invalid type, must be number"),
        ('min_by(`[{"a": "x"}, {}]`, &a)', "invalid type, must be string"),
    ],
)
def test_wrong_types_are_errors(expression: str, reason: str) -> None:
    with pytest.raises(errors.EvaluationError) as failed:
        search(expression)
    assert str(failed.value) == reason


@pytest.mark.parametrize("name", sorted({"sort", "join", "keys", "reverse", "length"}))
def test_the_table_holds_functions_by_name(name: str) -> None:
    assert functions.TABLE[name].name == name


def test_text_that_is_made_is_paid_for() -> None:
    expression = jmespath.compile("join('x', items)")
    with pytest.raises(errors.BudgetExhausted, match="larger values"):
        expression.search({"items": ["a" * 1000] * 100}, budget.Budget(size=50_000))
