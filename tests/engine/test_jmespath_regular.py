"""Kyverno's functions of regular expressions; both tables were checked against Kyverno."""

import pytest

from kymograph.engine import budget, errors, jmespath

RESULTS = [
    ("regex_match('^[a-z]+$', 'abc')", True),
    ("regex_match('b', 'abc')", True),
    ("regex_match('^a$', 'a\n')", False),
    ("regex_match('^1[0-9]$', `12`)", True),
    ("regex_match('(?i)ABC', 'xabcx')", True),
    ("regex_match('\\d{3}', 'a123')", True),
    ("regex_match('\\pL', '\u65e5')", True),
    ("regex_match('a|b', '')", False),
    ("regex_replace_all('([0-9])([0-9])', 'x12y', '$2$1')", "x21y"),
    ("regex_replace_all('a', 'banana', '${1}x')", "bxnxnx"),
    ("regex_replace_all('(a)', 'banana', '$1x')", "bnn"),
    ("regex_replace_all('(a)', 'banana', '${1}x')", "baxnaxnax"),
    ("regex_replace_all('(?P<n>a)', 'ba', '[$n]')", "b[a]"),
    ("regex_replace_all('a*', 'baaac', '-')", "-b-c-"),
    ("regex_replace_all('x', 'axa', '$$')", "a$a"),
    ("regex_replace_all('x', 'axa', '$')", "a$a"),
    ("regex_replace_all('1', `112`, `9`)", "992"),
    ("regex_replace_all('x*', '\u65e5\u672c', '-')", "-\u65e5-\u672c-"),
    ("regex_replace_all_literal('(a)', 'banana', '$1')", "b$1n$1n$1"),
    ("regex_replace_all_literal('', 'ab', '-')", "-a-b-"),
    ("regex_replace_all('[.]', `0.1`, ',')", "0,1"),
    ("regex_match('16777216', `16777217`)", True),
]

REFUSALS = [
    ("regex_match('[a', 'x')", "error parsing regexp: missing closing ]: `[a`"),
    ("regex_match('(a', 'x')", "error parsing regexp: missing closing ): `(a`"),
    ("regex_match('a)', 'x')", "error parsing regexp: unexpected ): `a)`"),
    ("regex_match('*a', 'x')", "error parsing regexp: missing argument to repetition operator: `*`"),
    ("regex_match('a**', 'x')", "error parsing regexp: invalid nested repetition operator: `**`"),
    ("regex_match('(?=a)', 'x')", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
    ("regex_match('a{1001}', 'x')", "error parsing regexp: invalid repeat count: `{1001}`"),
    ("regex_match('[b-a]', 'x')", "error parsing regexp: invalid character class range: `b-a`"),
    ("regex_match('\\8', 'x')", "error parsing regexp: invalid escape sequence: `\\8`"),
    ("regex_match('\\C', 'x')", "error parsing regexp: invalid escape sequence: `\\C`"),
    ("regex_match('a{2,1}', 'x')", "error parsing regexp: invalid repeat count: `{2,1}`"),
    ("regex_match('(?P<n', 'x')", "error parsing regexp: invalid named capture: `(?P<n`"),
    ("regex_match('\\pX', 'x')", "error parsing regexp: invalid character class range: `\\pX`"),
    (
        "regex_replace_all('[a', 'x', '')",
        "JMESPath function 'regex_replace_all': error parsing regexp: missing closing ]: `[a`",
    ),
    (
        "regex_replace_all_literal('(', 'x', '')",
        "JMESPath function 'regex_replace_all_literal': error parsing regexp: missing closing ): `(`",
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


def test_a_long_text_costs_steps() -> None:
    expression = jmespath.compile("regex_match('(x+x+)+y', s)")
    with pytest.raises(errors.BudgetExhausted, match="more steps"):
        expression.search({"s": "x" * 1_000_000}, budget.Budget(steps=1000))


def test_no_pattern_takes_more_than_linear_time() -> None:
    expression = jmespath.compile("regex_match('(x+x+)+y', s)")
    assert expression.search({"s": "x" * 100_000}, budget.Budget()) is False
