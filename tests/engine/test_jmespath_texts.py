"""Kyverno's functions of text; both tables were checked against Kyverno."""

import pytest

from kymograph.engine import budget, errors, jmespath

RESULTS = [
    ("compare('a', 'b')", -1),
    ("compare('b', 'a')", 1),
    ("compare('a', 'a')", 0),
    ("equal_fold('Go', 'GO')", True),
    ("equal_fold('\u212a', 'k')", True),
    ("equal_fold('stra\xdfe', 'STRASSE')", False),
    ("replace('banana', 'a', 'o', `2`)", "bonona"),
    ("replace('banana', 'a', 'o', `-1`)", "bonono"),
    ("replace('banana', 'a', 'o', `0`)", "banana"),
    ("replace('ab', '', '-', `2`)", "-a-b"),
    ("replace_all('banana', 'an', '')", "ba"),
    ("replace_all('ab', '', '-')", "-a-b-"),
    ("to_upper('stra\xdfe \u01c6')", "STRA\xdfE \u01c4"),
    ("to_lower('\u0130ST \u03a3')", "ist \u03c3"),
    ("trim('xxaxbxx', 'x')", "axb"),
    ("trim(' a ', '')", " a "),
    ("trim_prefix('v1.2', 'v')", "1.2"),
    ("trim_prefix('1.2', 'v')", "1.2"),
    ("split('a,b,,c', ',')", ["a", "b", "", "c"]),
    ("split('abc', '')", ["a", "b", "c"]),
    ("split('', ',')", [""]),
    ("split('', '')", []),
    ("pattern_match('pvc-?-*', 'pvc-1-x')", True),
    ("pattern_match('1?', `12`)", True),
    ("pattern_match('*.5', `1.5`)", True),
    ("to_boolean('TrUe')", True),
    ("to_boolean('FALSE')", False),
    ("truncate('h\xe9llo', `2`)", "h\xe9"),
    ("truncate('abc', `-1`)", ""),
    ("truncate('abc', `9`)", "abc"),
    ("truncate('abc', `1.9`)", "a"),
    ("path_canonicalize('/a//b/../c/.')", "/a/c"),
    ("path_canonicalize('a/../..')", ".."),
    ("path_canonicalize('/..')", "/"),
    ("path_canonicalize('')", ""),
    ("path_canonicalize('./')", "."),
    ("path_canonicalize('//x')", "/x"),
    ("semver_compare('4.1.3', '>=4.1.x')", True),
    ("semver_compare('4.1.3', '!4.x.x')", False),
    ("semver_compare('1.8.6', '>1.0.0 <2.0.0')", True),
    ("semver_compare('2.1.5', '<2.0.0 || >=3.0.0')", False),
    ("semver_compare('bad', '<1.0.0')", True),
    ("semver_compare('3.2.0', '> 1.0.0')", True),
]

REFUSALS = [
    (
        "to_boolean('yes')",
        "JMESPath function 'to_boolean': lowercase argument must be 'true' or 'false' (provided: 'yes')",
    ),
    ("to_boolean('')", "JMESPath function 'to_boolean': lowercase argument must be 'true' or 'false' (provided: '')"),
    ("semver_compare('1.0.0', 'bad')", 'Could not get version from string: "bad"'),
    ("semver_compare('1.0.0', '')", "Last element in range is '||'"),
    ("semver_compare('1.0.0', '|| 1.0.0')", "First element in range is '||'"),
    (
        "semver_compare('1.0.0', '>=1.0')",
        (
            'Could not parse Range ">=1.0": Could not parse version "1.0" in ">=1.0": No '
            "Major.Minor.Patch elements found"
        ),
    ),
    ("semver_compare('1.0.0', '~1.0.0')", 'Could not parse Range "~1.0.0": Could not parse comparator "~" in "~1.0.0"'),
    (
        "semver_compare('1.0.0', '>=01.0.0')",
        (
            'Could not parse Range ">=01.0.0": Could not parse version "01.0.0" in ">=01.0.0": Major '
            'number must not contain leading zeroes "01"'
        ),
    ),
    (
        "semver_compare('1.0.0', '=1.0.0-01')",
        (
            'Could not parse Range "=1.0.0-01": Could not parse version "1.0.0-01" in "=1.0.0-01": '
            'Numeric PreRelease version must not contain leading zeroes "01"'
        ),
    ),
    (
        "semver_compare('1.0.0', '1.0.0+')",
        ('Could not parse Range "1.0.0+": Could not parse version "1.0.0+" in "1.0.0+": Build meta data is empty'),
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


@pytest.mark.parametrize(
    "expression", ["replace_all(s, 'a', s)", "split(s, '')", "replace(s, 'a', s, `100000`)", "to_upper(s).x"]
)
def test_text_that_is_made_is_paid_for_first(expression: str) -> None:
    with pytest.raises(errors.BudgetExhausted, match="larger values"):
        jmespath.compile(expression).search({"s": "a" * 50_000}, budget.Budget(size=20_000))
