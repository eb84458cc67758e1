"""Numbers, quantities and durations computed as Kyverno does; both tables were checked against Kyverno."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.apimachinery import duration, quantity
from kymograph.engine import budget, errors, jmespath

RESULTS = [
    ("add('1Ki', '1Ki')", "2Ki"),
    ("add('1', '1m')", "1001m"),
    ("add('0', '1Ki')", "1Ki"),
    ("add('1Gi', '1G')", "2073741824"),
    ("add('1h', '30s')", "1h0m30s"),
    ("add(`1`, `2`)", 3),
    ("add(`0.1`, `0.2`)", 0.30000000000000004),
    ("add('1h', '-2h')", "-1h0m0s"),
    ("add('-1Ki', '1023')", "-1"),
    ("sum(['1', '2k', '3Ki'])", "5073"),
    ("sum(['1h', '1s'])", "1h0m1s"),
    ("sum(`[1, 2.5]`)", 3.5),
    ('sum(`["x"]`)', "x"),
    ("subtract('1Gi', '512Mi')", "512Mi"),
    ("subtract('1', '1500m')", "-500m"),
    ("subtract('1h', '90s')", "58m30s"),
    ("subtract(`1`, `3`)", -2),
    ("multiply('1Ki', `1.5`)", "1536"),
    ("multiply(`2`, '300m')", "600m"),
    ("multiply('1h', `0.5`)", "30m0s"),
    ("multiply(`3`, '20s')", "1m0s"),
    ("multiply(`3`, `-2`)", -6),
    ("multiply('1n', `0.001`)", "1"),
    ("multiply('1Gi', `1e-10`)", "1073741824n"),
    ("divide('1Gi', '512Mi')", 2),
    ("divide('1Gi', `3`)", "357913941"),
    ("divide('10', `4`)", "2"),
    ("divide('1', '3')", 0.3333333333333333),
    ("divide('1h', '1500s')", 2.4),
    ("divide('1h', `7`)", "8m34.285714285s"),
    ("divide(`7`, `2`)", 3.5),
    ("modulo('12', '5')", "2"),
    ("modulo('-7', '5')", "-2"),
    ("modulo('1Ki', '1k')", "24"),
    ("modulo('2h', '50s')", "0s"),
    ("modulo(`-7`, `3`)", -1),
    ("round(`2.675`, `2`)", 2.68),
    ("round(`-2.5`, `0`)", -3),
    ("round(`1234`, `2`)", 1234),
    ("round(`0.125`, `2`)", 0.13),
    ("add('1E', '1E')", "2E"),
    ("add('999P', '1P')", "1E"),
    ("multiply('9Ei', `2`)", "18446744073709551614"),
    ("add('1e3', '1')", "1001"),
    ("add('0.5Ki', '0.1')", "512100m"),
]

REFUSALS = [
    ("add('1h', '1Ki')", "JMESPath function 'add': Types mismatch"),
    ("add('1h', '30m')", "JMESPath function 'add': Types mismatch"),
    ("add('1', `1`)", "JMESPath function 'add': Types mismatch"),
    ("add('x', '1')", "JMESPath function 'add': invalid operand"),
    ("add(`true`, `1`)", "JMESPath function 'add': invalid operand"),
    ("add(`null`, `1`)", "JMESPath function 'add': invalid operand"),
    ("sum(`[]`)", "JMESPath function 'sum': at least one element in the array is required"),
    ('sum(`[1, "1"]`)', "JMESPath function 'sum': Types mismatch"),
    ('sum(`[1, "x"]`)', "JMESPath function 'sum': invalid operand"),
    ("subtract('1h', `1`)", "JMESPath function 'subtract': Types mismatch"),
    ("multiply('1', '1')", "JMESPath function 'multiply': Types mismatch"),
    ("multiply('1s', '1s')", "JMESPath function 'multiply': Types mismatch"),
    ("divide(`1`, `0`)", "JMESPath function 'divide': Zero divisor passed"),
    ("divide('1', '0')", "JMESPath function 'divide': Zero divisor passed"),
    ("divide('1', `0`)", "JMESPath function 'divide': Zero divisor passed"),
    ("divide('1h', '0s')", "JMESPath function 'divide': Zero divisor passed"),
    ("divide('1h', `0`)", "JMESPath function 'divide': Zero divisor passed"),
    ("divide(`1`, '1')", "JMESPath function 'divide': Types mismatch"),
    ("divide('1', '1h')", "JMESPath function 'divide': Types mismatch"),
    ("modulo('1', '0')", "JMESPath function 'modulo': Zero divisor passed"),
    ("modulo('500m', '1')", "JMESPath function 'modulo': Non-integer argument(s) passed for modulo"),
    ("modulo(`1.5`, `1`)", "JMESPath function 'modulo': Non-integer argument(s) passed for modulo"),
    ("modulo(`1`, `0`)", "JMESPath function 'modulo': Zero divisor passed"),
    ("modulo('1h', '0s')", "JMESPath function 'modulo': Zero divisor passed"),
    ("modulo('1h', `1`)", "JMESPath function 'modulo': Types mismatch"),
    ("round(`1.5`, `1.5`)", "JMESPath function 'round': Non-integer argument(s) passed for round off"),
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


QUANTITIES = st.builds(
    "{}{}".format, st.integers(-(10**9), 10**9), st.sampled_from(["", "m", "u", "k", "M", "G", "Ki", "Mi", "Gi", "e3"])
)
DURATIONS = st.integers(-(1 << 50), 1 << 50).map(duration.format)


def compute(name: str, left: object, right: object) -> object:
    return jmespath.compile(f"{name}(a, b)").search({"a": left, "b": right}, budget.Budget())


@settings(deadline=None)
@given(QUANTITIES, QUANTITIES)
def test_sums_of_quantities_commute_and_are_undone_by_differences(left: str, right: str) -> None:
    total = str(compute("add", left, right))
    assert quantity.parse(total) == quantity.parse(str(compute("add", right, left)))
    assert quantity.parse(str(compute("subtract", total, right))) == quantity.parse(left)


@settings(deadline=None)
@given(DURATIONS, DURATIONS)
def test_sums_of_durations_commute_and_are_undone_by_differences(left: str, right: str) -> None:
    total = compute("add", left, right)
    assert total == compute("add", right, left)
    assert compute("subtract", total, right) == left


@settings(deadline=None)
@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6).filter(bool))
def test_a_remainder_has_the_sign_of_the_dividend_and_completes_the_quotient(dividend: int, divisor: int) -> None:
    rest = compute("modulo", dividend, divisor)
    assert isinstance(rest, int)
    assert abs(rest) < abs(divisor)
    assert rest == 0 or (rest < 0) == (dividend < 0)
    assert (dividend - rest) % divisor == 0


def test_a_whole_result_is_an_integer() -> None:
    """An API server takes no `3.0` for a number of replicas."""
    assert type(search("add(`1.5`, `1.5`)")) is int
    assert type(search("divide(`6`, `2`)")) is int


def test_amounts_that_would_have_to_be_written_out_are_refused() -> None:
    with pytest.raises(errors.EvaluationError, match="too large to compute with"):
        compute("add", "1e2000000000", "1")


def test_an_endless_integer_is_no_operand() -> None:
    with pytest.raises(errors.EvaluationError, match="invalid operand"):
        compute("add", 10**400, 1)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("avg([a])", "a number is too large to compute with"),
        ("round(a, `1`)", "JMESPath function 'round': invalid operand"),
        ("round(`1.5`, a)", "JMESPath function 'round': the result is not a number"),
        ("round(`1.5`, to_number('nan'))", "JMESPath function 'round': Non-integer argument(s) passed for round off"),
        ("modulo(to_number('inf'), `1`)", "JMESPath function 'modulo': Non-integer argument(s) passed for modulo"),
        ("multiply('1', to_number('nan'))", "quantities must match the regular expression"),
    ],
)
def test_numbers_beyond_all_bounds_are_refused(expression: str, reason: str) -> None:
    with pytest.raises(errors.EvaluationError) as failed:
        jmespath.compile(expression).search({"a": 10**400}, budget.Budget())
    assert str(failed.value).startswith(reason)
