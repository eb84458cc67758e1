"""Versions are read strictly and ordered as semver.org 2.0.0 says."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.apimachinery import semver

ORDERED = [
    "0.0.1",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.10",
    "1.2.0",
    "10.0.0",
]


@pytest.mark.parametrize(("lower", "higher"), list(itertools.pairwise(ORDERED)))
def test_order(lower: str, higher: str) -> None:
    assert semver.parse(lower) < semver.parse(higher)
    assert not semver.parse(higher) <= semver.parse(lower)


def test_build_metadata_take_no_part() -> None:
    assert semver.parse("1.0.0+a.1") == semver.parse("1.0.0+b")


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0 ", "1.0.0.0"]
)
def test_refuses(text: str) -> None:
    assert semver.find(text) is None
    with pytest.raises(ValueError, match="is no semantic version"):
        semver.parse(text)


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        (">=1.0.0 <2.0.0", ["1.0.0", "1.9.9"], ["2.0.0", "0.9.9", "1.0.0-rc.1"]),
        ("<2.0.0 || >=3.0.0", ["1.0.0", "3.0.0"], ["2.0.0"]),
        ("> 1.0.0", ["1.0.1"], ["1.0.0"]),
        ("1.2.x", ["1.2.0", "1.2.9"], ["1.3.0"]),
        ("1.x", ["1.0.0", "1.9.0"], ["2.0.0"]),
        (">1.2.x", ["1.3.0"], ["1.2.9"]),
        ("<=1.x", ["1.9.9"], ["2.0.0"]),
        ("!1.2.3", ["1.2.4"], ["1.2.3"]),
        ("!=1.2.x", [], ["1.2.3", "1.3.0", "1.1.0"]),
        ("==1.2.3+a", ["1.2.3", "1.2.3+b"], ["1.2.4"]),
    ],
)
def test_ranges(wanted: str, inside: list[str], outside: list[str]) -> None:
    """`!=1.2.x` holds nothing: blang/semver asks for below and above at once."""
    found = semver.parse_range(wanted)
    assert all(semver.parse(version) in found for version in inside)
    assert not any(semver.parse(version) in found for version in outside)


VERSIONS = st.tuples(*[st.integers(0, 3)] * 3).map(lambda numbers: ".".join(map(str, numbers)))


@settings(deadline=None)
@given(VERSIONS, VERSIONS)
def test_the_comparators_are_those_of_versions(text: str, other: str) -> None:
    version, bound = semver.parse(text), semver.parse(other)
    expected = {">": version > bound, ">=": version >= bound, "<": version < bound, "=": version == bound}
    assert {sign: version in semver.parse_range(f"{sign}{other}") for sign in expected} == expected
    assert version in semver.parse_range(f"<{other} || >={other}")
    assert version not in semver.parse_range(f"<{other} >={other}")


@settings(deadline=None)
@given(st.text(alphabet="012.x<>=!|- +a", max_size=12))
def test_no_text_breaks_ranges(text: str) -> None:
    try:
        found = repr(semver.ZERO in semver.parse_range(text))
    except ValueError as refused:
        found = str(refused)
    assert found


def test_numbers_have_64_bits() -> None:
    assert semver.find(f"{(1 << 64) - 1}.0.0") is not None
    assert semver.find(f"{1 << 64}.0.0") is None
