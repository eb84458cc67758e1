"""Operators of string patterns; the table was checked against Kyverno's own pattern engine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.engine import budget
from kymograph.engine.pattern import operators


def matches(pattern: str, value: object) -> bool:
    return operators.compile(pattern)(value, budget.Budget())


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("nginx", ["nginx"], ["nginx2", "", None, 1, True, {}, []]),
        ("*", ["", "x", 0, True], [None, {}]),
        ("?*", ["x", 0, 1.5, False], ["", None]),
        ("!nginx*", ["httpd", "", 5], ["nginx:1", None]),
        ("!*:latest", ["nginx:1"], ["nginx:latest"]),
        ("nginx* | httpd", ["nginx:1", "httpd"], ["apache"]),
        ("a|b|c", ["a", "c", "a|b|c"], ["d", "a|b"]),
        ("a* & !ab", ["a", "ac"], ["ab", "b"]),
        ("!a & !b | z", ["c", "z"], ["a", "b"]),
        ("true", ["true", True], ["false", False, 1]),
        ("false", [False, "false"], [True, 0, None]),
        (">5", [6, "6", 5.1, "5100m"], [5, "5", 4, "x", None, True]),
        (">=5", [5, "5", 5.0], [4.9, "4999m"]),
        ("<5", [4, None, -1, "0"], [5, 6, "x"]),
        ("<=1Gi", ["1Gi", "1024Mi", "1G", 1073741824, None], ["1.1Gi", "2Gi", 1073741825]),
        ("<1h", ["59m", "3599s", 0, None], ["1h", "60m", "1d"]),
        (">=1h | never", ["60m", "never"], ["59m"]),
        ("!1h", ["30m"], ["1h", "60m"]),
        ("1-10", [1, 5, 10, "5"], [0, 11, "x"]),
        ("-5-5", [-5, 0, 5], [-6, 6]),
        ("1Mi-1Gi", ["1Mi", "512Mi"], ["1Ki", "2Gi"]),
        ("1h-3h", ["2h", "90m"], ["4h", "30m"]),
        ("5!-8", [4, 9, 100], [5, 8, 6, "x"]),
        ("10", [10, "10", 10.0, "10000m"], [11, "x", True]),
        ("0.5", ["500m", 0.5, "0.5"], [1]),
        ("0", [0, None, "0", "0s", 0.0], [1, "", False]),
        ("", [""], ["x", None, 0]),
        ("!", ["!"], ["", "x"]),
        ("a-b", ["a-b"], ["a", "b"]),
        ("5E*", [0.5], [5, 50]),
        ("null", ["null"], [None]),
        ("  spaced  ", ["spaced", "  spaced  "], [" spaced"]),
    ],
)
def test_patterns(pattern: str, yes: list[object], no: list[object]) -> None:
    assert [value for value in yes if not matches(pattern, value)] == []
    assert [value for value in no if matches(pattern, value)] == []


@pytest.mark.parametrize(
    ("condition", "operator"),
    [
        (">=1", operators.Operator.MORE_EQUAL),
        ("<=1", operators.Operator.LESS_EQUAL),
        (">1", operators.Operator.MORE),
        ("<1", operators.Operator.LESS),
        ("!1", operators.Operator.NOT_EQUAL),
        ("1-2", operators.Operator.IN_RANGE),
        ("1.5Gi-2Gi", operators.Operator.IN_RANGE),
        ("1!-2", operators.Operator.NOT_IN_RANGE),
        ("!", operators.Operator.EQUAL),
        ("a-b", operators.Operator.EQUAL),
        ("2024-01-02", operators.Operator.EQUAL),
        ("1-2\n", operators.Operator.EQUAL),
    ],
)
def test_operators_are_recognised(condition: str, operator: operators.Operator) -> None:
    assert operators.operator_of(condition) is operator


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(-100, 100))
def test_a_range_is_two_comparisons(low: int, high: int, value: int) -> None:
    assert matches(f"{low}-{high}", value) is (low <= value <= high)
    assert matches(f"{low}!-{high}", value) is (value < low or value > high)


@given(st.text(max_size=12), st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12))
def test_no_pattern_breaks_the_compiler(pattern: str, value: object) -> None:
    assert matches(pattern, value) in (True, False)
    assert matches(pattern, pattern)
