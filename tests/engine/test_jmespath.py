"""JMESPath of Kyverno's fork: a missing key is an error, unless one of the named places turns it into null."""

import jmespath as library
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.engine import budget, errors, jmespath

DATA = {
    "name": "web",
    "none": None,
    "empty": {},
    "flag": False,
    "zero": 0,
    "ports": [80, 443],
    "nested": [[1, 2], [3, [4]], 5],
    "spec": {"containers": [{"image": "a", "cpu": 2}, {"image": "b"}, {"cpu": 1, "init": None}]},
    "labels": {"app": "x", "my-key": "y"},
}


def search(expression: str, data: object = DATA) -> object:
    return jmespath.compile(expression).search(data, budget.Budget())


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("name", "web"),
        ("spec.containers[0].image", "a"),
        ("spec.containers[-1].cpu", 1),
        ("spec.containers[9]", None),
        ("spec.containers[9].image", None),
        ("spec.containers[].image", ["a", "b"]),
        ("spec.containers[*].cpu", [2, 1]),
        ("spec.containers[?cpu].cpu", [2, 1]),
        ("spec.containers[?cpu > `1`].image | [0]", "a"),
        ("spec.containers[?image == 'b']", [{"image": "b"}]),
        ("spec.containers[].[image, cpu]", [["a", 2], ["b", None], [None, 1]]),
        ("spec.containers[].{i: image}", [{"i": "a"}, {"i": "b"}, {"i": None}]),
        ('labels."my-key"', "y"),
        ("labels.*", ["x", "y"]),
        ("nested[]", [1, 2, 3, [4], 5]),
        ("nested[][]", [1, 2, 3, 4, 5]),
        ("ports[::-1]", [443, 80]),
        ("ports[1:]", [443]),
        ("name.x", None),
        ("ports.x", None),
        ("none.x", None),
        ("none.x.y", None),
        ("none.[a, b]", None),
        ("none.{a: a}", None),
        ("@.name", "web"),
        ('`{"a": 1}`.a', 1),
        ("'raw'", "raw"),
        ("!flag", True),
        ("!zero", False),
        ("!empty", True),
        ("flag || name", "web"),
        ("zero || name", 0),
        ("empty || name", "web"),
        ("name && flag", False),
        ("flag && name", False),
        ("zero == `0`", True),
        ("zero == `false`", False),
        ("flag == `0`", False),
        ("ports == `[80, 443.0]`", True),
        ("`[true]` == `[1]`", False),
        ("none == `null`", True),
        ("name != 'web'", False),
        ("name > `1`", None),
        ("flag < `1`", None),
        ("{a: name, b: ports[0]}", {"a": "web", "b": 80}),
    ],
)
def test_results(expression: str, result: object) -> None:
    assert search(expression) == result


@pytest.mark.parametrize(
    "expression",
    ["nope", "spec.nope", "spec.nope.deeper", "nope[0]", "nope.[a]", "nope.length(@)", "name && nope", "(nope)"],
)
def test_a_missing_key_is_an_error_in_a_plain_path(expression: str) -> None:
    with pytest.raises(errors.NotFoundInPath, match=r'^Unknown key "nope" in path$'):
        search(expression)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("nope == `null`", True),
        ("nope || 'default'", "default"),
        ("flag || nope", None),
        ("nope && name", None),
        ("!nope", True),
        ("nope | @", None),
        ("name | nope", None),
        ("[nope]", [None]),
        ("{a: nope}", {"a": None}),
        ("nope[]", None),
        ("nope[*].x", None),
        ("nope[?x]", None),
        ("nope.*", None),
        ("spec.containers[?nope]", []),
        ("spec.containers[*].nope", []),
        ("not_null(nope, name)", "web"),
        ("type(nope)", "null"),
        ("type(nope.length(@))", "null"),
        ("map(&image, spec.containers)", ["a", "b", None]),
        ("length(none)[]", None),
    ],
)
def test_a_missing_key_is_null_elsewhere(expression: str, result: object) -> None:
    assert search(expression) == result


@pytest.mark.parametrize(
    ("expression", "position", "reason"),
    [
        ("", 0, "empty"),
        ("a.", 2, "Expecting"),
        ("a[0", 3, "incomplete"),
        ("a = b", 2, "Unknown token '='"),
        ("a ~ b", 2, "Unknown token ~"),
        ("x || foo(@)", 5, "there is no function foo()"),
        ("x | split(@)", 4, "split() takes 2 arguments, not 1"),
        ("length(a, b)", 0, "length() takes 1 argument, not 2"),
        ("merge()", 0, "merge() takes at least 1 argument, not 0"),
        ("sort_by(a, b)", 0, "argument #2 of sort_by() must be an expression"),
        ("length(&a)", 0, "argument #1 of length() must be a value of type string or array or object"),
        ("&a", 0, "an expression reference is an argument"),
        ("`foo`", 0, "must be JSON"),
        ("a[::0]", 3, "step"),
        ("(" * 2000 + "a" + ")" * 2000, 0, "deeper than"),
        ("!" * 200 + "a", 0, "deeper than"),
        (" || ".join("a" * 200), 0, "deeper than"),
        ("a" * 40_000, 32 * 1024, "longer than"),
    ],
)
def test_what_is_wrong_is_refused_when_compiled(expression: str, position: int, reason: str) -> None:
    with pytest.raises(jmespath.ExpressionInvalid) as refused:
        jmespath.compile(expression)
    assert reason in str(refused.value)
    assert refused.value.position == position
    assert len(str(refused.value)) < 500


def test_a_long_path_is_not_deep() -> None:
    path = ".".join(["a"] * 500)
    with pytest.raises(errors.NotFoundInPath):
        search(path, {})


def test_a_map_may_load_its_entries_when_asked() -> None:
    class Lazy(dict):  # the seam that context entries use
        def __missing__(self, key: str) -> object:
            if key != "late":
                raise KeyError(key)
            self[key] = {"x": 1}
            return self[key]

    data = Lazy(name="web")
    assert search("late.x", data) == 1
    assert search("gone || late.x", Lazy()) == 1
    with pytest.raises(errors.NotFoundInPath):
        search("gone", data)


def test_loops_are_paid_for() -> None:
    expression = jmespath.compile("items[].items[].items[]")
    data: object = {"items": [{"items": [{"items": [1] * 100}] * 100}] * 100}
    with pytest.raises(errors.BudgetExhausted):
        expression.search(data, budget.Budget(steps=50_000))


@pytest.mark.parametrize("compared", ["x == y", "contains([x], y)", "to_string(x)"])
def test_a_small_value_that_is_endless_to_walk_exhausts_the_budget(compared: str) -> None:
    bomb = " | ".join(["[@, @]"] * 60)
    expression = jmespath.compile(f"{{x: {bomb}, y: {bomb}}} | {compared}")
    with pytest.raises(errors.BudgetExhausted):
        expression.search(1, budget.Budget())


def test_an_exhausted_budget_is_never_taken_for_null() -> None:
    expression = jmespath.compile("length(sort(items))[] || to_string(sort(items)[])")
    with pytest.raises(errors.BudgetExhausted):
        expression.search({"items": list(range(1000))}, budget.Budget(steps=100))


def test_a_deep_value_is_an_error_not_a_crash() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(errors.EvaluationError, match="nested too deeply"):
        search("x == y", {"x": deep, "y": [deep]})


fields = st.sampled_from(["a", "b", "c"])
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=3),
    max_leaves=12,
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, fields).map(".".join),
        st.tuples(fields, inner).map(lambda t: f"{t[0]}[?{t[1]}]"),
        st.tuples(fields, fields).map(lambda t: f"{t[0]}[*].{t[1]}"),
        fields.map(lambda name: f"{name}[]"),
        st.tuples(fields, st.integers(-2, 2)).map(lambda t: f"{t[0]}[{t[1]}]"),
        two.map(lambda t: f"({t[0]} || {t[1]})"),
        two.map(lambda t: f"({t[0]} && {t[1]})"),
        two.map(lambda t: f"({t[0]} | {t[1]})"),
        two.map(lambda t: f"({t[0]} == {t[1]})"),
        two.map(lambda t: f"(to_number({t[0]}) < to_number({t[1]}))"),
        two.map(lambda t: f"[{t[0]}, {t[1]}]"),
        two.map(lambda t: f"{{x: {t[0]}, y: {t[1]}}}"),
        inner.map(lambda one: f"!{one}"),
        inner.map(lambda one: f"type({one})"),
        two.map(lambda t: f"not_null({t[0]}, {t[1]})"),
    )


expressions = st.recursive(fields | st.sampled_from(["@", "`1`", "'x'"]), _grow, max_leaves=6)


@given(expressions, documents)
def test_agrees_with_the_library_except_for_missing_keys(expression: str, document: object) -> None:
    """Where nothing is missing, the result is the library's; what is missing is null there."""
    compiled = jmespath.compile(expression)
    expected = library.search(expression, document)
    try:
        result = compiled.search(document, budget.Budget())
    except errors.NotFoundInPath:
        result = None
    assert result == expected


@given(st.text(alphabet="ab.[]*?|&!(){}@`'\"0:,=<> ", max_size=20))
def test_no_text_breaks_the_compiler(text: str) -> None:
    try:
        position = len(jmespath.compile(text).text)
    except jmespath.ExpressionInvalid as refused:
        position = refused.position
    assert 0 <= position <= len(text)
