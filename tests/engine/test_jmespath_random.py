"""`random`: texts that a regular expression describes, the same again when an evaluation is run again."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.engine import budget, errors, jmespath, needs

PATTERNS = [
    "[a-z]{8}",
    "[0-9a-f]{4}-[0-9a-f]{4}",
    "(foo|bar|ba+z){2}",
    "a?b+c*",
    "[^a-z]x",
    "[[:upper:]][[:digit:]_-]{3}",
    "^v[1-9]\\.[0-9]{1,3}$",
    "\\x41[\\n\\t]",
    "{a}",
    "[]x]{2}",
    "x{0}y{2,}",
    "\u00e9+",
]

REFUSALS = [
    ("", "no pattern provided"),
    ("[a", "error parsing regexp: missing closing ]: `[a`"),
    ("(a", "error parsing regexp: missing closing ): `(a`"),
    ("a)", "error parsing regexp: unexpected ): `a)`"),
    ("*", "error parsing regexp: missing argument to repetition operator: `*`"),
    ("a|*", "error parsing regexp: missing argument to repetition operator: `*`"),
    ("(?:a)", "error parsing regexp: missing argument to repetition operator: `?`"),
    ("\\d", "error parsing regexp: invalid escape sequence: `\\d`"),
    ("\\b", "error parsing regexp: invalid escape sequence: `\\b`"),
    ("\\", "error parsing regexp: trailing backslash at end of expression: ``"),
    ("[[:foo:]]", "error parsing regexp: invalid character class range: `[:foo:]`"),
    ("[z-a]", "error parsing regexp: invalid character class range: `z-a`"),
    ("[a-z-9]", "error parsing regexp: invalid character class range: `-9`"),
    ("a{1001}", "error parsing regexp: invalid repeat count: `{1001}`"),
    ("a{2,1}", "error parsing regexp: invalid repeat count: `{2,1}`"),
]


def draw(pattern: str, spendable: budget.Budget) -> object:
    return jmespath.compile("random(@)").search(pattern, spendable)


def seeded(seed: bytes = b"s" * 32) -> budget.Budget:
    facts = needs.Facts()
    facts.add(needs.Seed(), seed)
    return budget.Budget(facts=facts)


@settings(deadline=None)
@given(st.sampled_from(PATTERNS), st.binary(min_size=32, max_size=32))
def test_a_text_matches_its_expression(pattern: str, seed: bytes) -> None:
    text = draw(pattern, seeded(seed))
    assert isinstance(text, str)
    python = pattern.replace("[[:upper:]]", "[A-Z]").replace("[:digit:]", "0-9")
    assert re.fullmatch(python, text) is not None


@pytest.mark.parametrize(("pattern", "reason"), REFUSALS)
def test_refuses_in_gos_words(pattern: str, reason: str) -> None:
    with pytest.raises(errors.EvaluationError) as failed:
        draw(pattern, seeded())
    assert str(failed.value) == reason


def test_the_seed_is_asked_for() -> None:
    with pytest.raises(needs.Needed) as missing:
        draw("[a-z]{8}", budget.Budget(facts=needs.Facts()))
    assert missing.value.need == needs.Seed()


def test_calls_differ_within_an_evaluation_and_agree_between_its_runs() -> None:
    first, second = seeded(), seeded()
    drawn = [draw("[a-z]{16}", first) for _ in range(10)]
    assert len(set(drawn)) == 10
    assert [draw("[a-z]{16}", second) for _ in range(10)] == drawn
    assert draw("[a-z]{16}", seeded(b"t" * 32)) not in drawn


def test_stacked_repetitions_are_one() -> None:
    """As in Go's parser: `a**` is `a*`, not 4096 times 4096 letters."""
    assert len(str(draw("a**", seeded()))) <= 4096


@pytest.mark.parametrize("pattern", ["a{1000}", "(a{10}){100}", "([a-z]{500}){2}"])
def test_each_character_is_paid_for(pattern: str) -> None:
    facts = needs.Facts()
    facts.add(needs.Seed(), b"s" * 32)
    for spendable in (budget.Budget(steps=900, facts=facts), budget.Budget(size=5000, facts=facts)):
        with pytest.raises(errors.BudgetExhausted):
            draw(pattern, spendable)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(errors.EvaluationError, match="nests too deeply"):
        draw("(" * 2000 + "a" + ")" * 2000, seeded())


@settings(deadline=None)
@given(st.text(alphabet="ab[]()-^$|*+?{}0123456789,\\xdn:.", max_size=12))
def test_no_text_breaks_the_parser(pattern: str) -> None:
    try:
        text = draw(pattern, seeded())
    except errors.EvaluationError as refused:
        text = str(refused)
    assert isinstance(text, str)
