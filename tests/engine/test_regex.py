"""Go's regular expressions: which engine reads a pattern makes no difference but time."""

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.engine import budget, regex

ATOMS = ["a", "b", ".", "\\.", "-", "[a-z]", "[^b]", "[0-9_-]", "\\d", "x", "/"]
TEXTS = st.text(alphabet="ab.-x/0_\n\u00e9", max_size=12)


@st.composite
def plain_patterns(draw: st.DrawFn) -> str:
    """Patterns that are left to `re`."""
    atoms = draw(st.lists(st.sampled_from(ATOMS), max_size=5))
    anchored = draw(st.booleans())
    if anchored and atoms:
        atoms.insert(draw(st.integers(1, len(atoms))), draw(st.sampled_from(["*", "+", ""])))
    return f"{'^' if anchored else ''}{''.join(atoms)}{draw(st.sampled_from(['', '$']))}"


@settings(deadline=None)
@given(plain_patterns(), TEXTS)
def test_plain_patterns_mean_the_same_to_both_engines(pattern: str, text: str) -> None:
    spendable = budget.Budget()
    plain, other = regex.compile(pattern), regex.compile(f"(?:{pattern})")
    assert plain.found_in(text, spendable) == other.found_in(text, spendable)
    assert plain.replace_literal(text, "<>", spendable) == other.replace_literal(text, "<>", spendable)


@pytest.mark.parametrize("pattern", ["^a+b+$", "a*", "(a)", "a|b", "^(a+)+$", "a{3}", "\\s", "\\bx", "[[:alpha:]]"])
def test_what_could_backtrack_is_left_to_re2(pattern: str) -> None:
    assert "re2" in type(getattr(regex.compile(pattern)._search, "__self__", None)).__module__


@pytest.mark.parametrize("pattern", ["nginx", "^v[0-9]+$", "^[^/]*$", "a\\.b", "^/proc"])
def test_what_cannot_is_left_to_re(pattern: str) -> None:
    assert isinstance(getattr(regex.compile(pattern)._search, "__self__", None), re.Pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("x" * 5000, "expression too large"),
        ("((a{100}){10}){10}", "invalid repeat count"),
        ("[\\pL\\pN]{1000}", "expression too large"),
        ("\ud800(", "missing closing )"),
    ],
)
def test_what_is_too_large_or_wrong_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(regex.RegexInvalid, match=re.escape(reason)):
        regex.compile(pattern)


def test_half_a_surrogate_pair_is_a_character_like_others() -> None:
    assert regex.compile("^(.)$").replace("\ud800", "[$1]", budget.Budget()) == "[\ufffd]"


def test_what_is_replaced_is_paid_for() -> None:
    spendable = budget.Budget(size=1000)
    with pytest.raises(Exception, match="larger values"):
        regex.compile("(a)").replace("a" * 100, "$1" * 100, spendable)


def test_the_engine_starts_without_what_few_policies_need() -> None:
    import subprocess

    code = (
        "import sys, kymograph.engine.jmespath as j; print(sorted({'re2', 'cryptography', 'yaml'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
