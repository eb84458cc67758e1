"""Versions are read strictly and ordered as semver.org 2.0.0 says."""

import itertools

import pytest

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
