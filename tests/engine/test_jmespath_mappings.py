"""Maps and lists, and addresses of URLs; both tables were checked against Kyverno."""

import pytest

from kymograph.engine import budget, errors, jmespath

RESULTS = [
    ("lookup(`{\"a\": 1}`, 'a')", 1),
    ("lookup(`{\"a\": 1}`, 'b')", None),
    ("lookup(`[1, 2]`, `1`)", 2),
    ("lookup(`[1, 2]`, `2`)", None),
    ("lookup(`[1, 2]`, `-1`)", None),
    ("items(`{\"b\": 1, \"a\": 2}`, 'k', 'v')", [{"k": "a", "v": 2}, {"k": "b", "v": 1}]),
    ("items(`[\"x\", null]`, 'i', 'v')", [{"i": 0, "v": "x"}, {"i": 1, "v": None}]),
    ("items(`{\"b\": 1, \"a\": 2}`, 'k', 'v')[?v > `1`].k", ["a"]),
    ('object_from_lists(`["a", "b", 1, true]`, `[1, 2]`)', {"1": None, "a": 1, "b": 2, "true": None}),
    ('object_from_lists(`["a", "a"]`, `[1, 2, 3]`)', {"a": 2}),
    ('label_match(`{"a": "x"}`, `{"a": "x", "b": "y"}`)', True),
    ('label_match(`{"a": "x"}`, `{"a": "z"}`)', False),
    ("label_match(`{}`, `{}`)", True),
    ('label_match(`{"a": null}`, `{}`)', False),
    ("is_external_url('http://10.0.0.1')", False),
    ("is_external_url('https://8.8.8.8:443/x?y')", True),
    ("is_external_url('http://[::1]:80')", False),
    ("is_external_url('http://[fd00::1]/')", False),
    ("is_external_url('//172.31.0.1')", False),
    ("is_external_url('http://u:p@172.32.0.1')", True),
    ("is_external_url('http://[::ffff:127.0.0.1]')", False),
]

REFUSALS = [
    ('lookup(`{"a": 1}`, `1`)', "JMESPath function 'lookup': argument #2 is not of type String"),
    ("lookup(`[1]`, 'a')", "JMESPath function 'lookup': argument #2 is not of type Number"),
    ("lookup(`[1]`, `1.5`)", "JMESPath function 'lookup': argument #2: expected an integer number but got: 1.5"),
    (
        "lookup(`[1]`, `1e30`)",
        "JMESPath function 'lookup': argument #2: number is outside the range of integer numbers: 1e+30",
    ),
    (
        "object_from_lists(`[null]`, `[1]`)",
        "JMESPath function 'object_from_lists': argument #1 is not of type StringArray",
    ),
    (
        "object_from_lists(`[[]]`, `[1]`)",
        "JMESPath function 'object_from_lists': argument #1 is not of type StringArray",
    ),
]


def search(expression: str) -> object:
    return jmespath.compile(expression).search({}, budget.Budget())


@pytest.mark.parametrize(("expression", "result"), RESULTS)
def test_gives_what_kyverno_gives(expression: str, result: object) -> None:
    assert search(expression) == result


@pytest.mark.parametrize(("expression", "reason"), REFUSALS)
def test_refuses_in_kyvernos_words(expression: str, reason: str) -> None:
    with pytest.raises(errors.EvaluationError) as failed:
        search(expression)
    assert str(failed.value) == reason


def test_looking_up_loads_an_entry_that_loads_when_asked() -> None:
    class Lazy(dict[str, object]):
        def __missing__(self, key: str) -> object:
            if key == "x":
                return "loaded"
            raise KeyError(key)

    assert jmespath.compile("lookup(@, 'x')").search(Lazy(), budget.Budget()) == "loaded"
    assert jmespath.compile("lookup(@, 'y')").search(Lazy(), budget.Budget()) is None
