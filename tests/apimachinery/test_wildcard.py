"""`*` is any run of characters, `?` exactly one, all else stands for itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.apimachinery import wildcard


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "any/thing\nat all", True),
        ("**", "", True),
        ("?", "", False),
        ("?", "a", True),
        ("?", "\u00e9", True),
        ("?", "ab", False),
        ("?*", "", False),
        ("?*", "a", True),
        ("nginx", "nginx", True),
        ("nginx", "Nginx", False),
        ("nginx*", "nginx:1.25", True),
        ("*:latest", "nginx:latest", True),
        ("*:latest", "nginx:latest2", False),
        ("*/*", "a/b/c", True),
        ("*a*b*", "xxaxxbxx", True),
        ("*a*b*", "xxbxxaxx", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*ab", "aab", True),
        ("*a?b*", "aacb", True),
        ("a[b]", "a[b]", True),
        ("a[b]", "ab", False),
        ("a.c", "abc", False),
        ("\\*", "\\anything", True),
        ("registry.io/*/x?z", "registry.io/team/xyz", True),
        ("registry.io/*/x?z", "registry.io/team/xz", False),
    ],
)
def test_matches(pattern: str, text: str, matched: bool) -> None:
    assert wildcard.match(pattern, text) is matched
    assert wildcard.compile(pattern)(text) is matched


@pytest.mark.parametrize(("text", "has"), [("a*", True), ("?", True), ("a[b]", False), ("", False)])
def test_says_whether_text_holds_a_wildcard(text: str, has: bool) -> None:
    assert wildcard.has(text) is has


def naive(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return naive(pattern[1:], text) or (bool(text) and naive(pattern, text[1:]))
    return bool(text) and pattern[0] in ("?", text[0]) and naive(pattern[1:], text[1:])


@given(st.text(alphabet="ab*?", max_size=9), st.text(alphabet="ab", max_size=9))
def test_agrees_with_the_definition(pattern: str, text: str) -> None:
    assert wildcard.match(pattern, text) is naive(pattern, text)


def test_a_hostile_pattern_takes_no_time() -> None:
    """A backtracking matcher would not come back from this."""
    assert not wildcard.match("*a" * 60 + "b", "a" * 50_000)
    assert not wildcard.match("*a?" * 60 + "b", "a" * 5_000)
