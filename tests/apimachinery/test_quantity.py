"""Quantities read, compare and write as in Kubernetes; the tables were checked against `resource.ParseQuantity`."""

import decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.apimachinery import quantity

CANONICAL = [
    ("0", "0"),
    ("1", "1"),
    ("+5", "5"),
    ("-5", "-5"),
    ("007", "7"),
    ("1.5", "1500m"),
    ("0.1", "100m"),
    (".5", "500m"),
    ("5.", "5"),
    ("1.500", "1500m"),
    ("1000m", "1"),
    ("100m", "100m"),
    ("1000", "1k"),
    ("1500", "1500"),
    ("1000000", "1M"),
    ("1e3", "1e3"),
    ("1E3", "1e3"),
    ("12e6", "12e6"),
    ("1e10", "10e9"),
    ("1e-3", "1e-3"),
    ("1E", "1E"),
    ("1Ki", "1Ki"),
    ("1024Ki", "1Mi"),
    ("1.5Gi", "1536Mi"),
    ("512Ki", "512Ki"),
    (".5Ki", "512"),
    ("0.1Ki", "102400m"),
    ("1n", "1n"),
    ("0.1n", "1n"),
    ("-0.1n", "-1n"),
    ("1.0000000001", "1000000001n"),
    ("9Ei", "9223372036854775807"),
    ("Ki", "0"),
    ("m", "0"),
    ("+", "0"),
    (".", "0"),
]

REFUSED = [
    "",
    " ",
    "1 Gi",
    "1Gi ",
    "1e3Mi",
    "1gi",
    "1KI",
    "1Kib",
    "1e",
    "1e+",
    "1.2.3",
    "--1",
    "1,5",
    "1_000",
    "Pi",
    "Ei",
    "e-20",
    "nginx",
    "\u0661",
    "0x10",
    "1e99999999999999999999",
]


@pytest.mark.parametrize(("text", "written"), CANONICAL)
def test_is_written_in_canonical_form(text: str, written: str) -> None:
    assert str(quantity.parse(text)) == written


@pytest.mark.parametrize("text", REFUSED)
def test_refuses_what_kubernetes_refuses(text: str) -> None:
    assert quantity.find(text) is None
    with pytest.raises(ValueError, match="is no quantity"):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [("1", "2"), ("100m", "1"), ("1k", "1Ki"), ("1Gi", "1.5Gi"), ("-1", "0"), ("953Mi", "1G"), ("1n", "1u")],
)
def test_compares_by_amount_across_formats(smaller: str, larger: str) -> None:
    assert quantity.parse(smaller) < quantity.parse(larger)
    assert quantity.parse(larger) >= quantity.parse(smaller)


def test_equal_amounts_are_equal_whatever_their_suffix() -> None:
    assert quantity.parse("1Gi") == quantity.parse("1024Mi") == 1 << 30
    assert quantity.parse("0.5") == quantity.parse("500m") == decimal.Decimal("0.5")
    assert hash(quantity.parse("1k")) == hash(quantity.parse("1000"))
    assert quantity.parse("1") != "1"


def test_a_huge_exponent_costs_nothing() -> None:
    """`1e2000000000` is a legal quantity; comparing it must not write its digits."""
    assert quantity.parse("1e2000000000") > quantity.parse("9E")
    assert str(quantity.parse("1e-2000000000")) == "1e-9"


@pytest.mark.parametrize(("text", "written"), [("1000E", "1"), ("1e-12", "1e-9"), ("20000000000T", "20")])
def test_an_amount_without_a_letter_is_written_without_one(text: str, written: str) -> None:
    """Go looks for the suffix of the exponent and writes what it finds, which may be nothing."""
    assert str(quantity.parse(text)) == written


@given(
    st.integers(-(10**11), 10**11),
    st.sampled_from(["", "m", "u", "n", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "e-3", "E6"]),
)
def test_what_is_written_reads_as_the_same_amount(number: int, suffix: str) -> None:
    once = quantity.parse(f"{number}{suffix}")
    again = quantity.parse(str(once))
    assert again == once
    assert str(again) == str(once)


@given(st.decimals(-(10**9), 10**9, places=9))
def test_decimals_up_to_nano_are_exact(number: decimal.Decimal) -> None:
    assert quantity.parse(f"{number:f}").value == number


@given(st.text(alphabet="0123456789.+-eEinumkKMGTP", max_size=8))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = quantity.find(text)
    assert found is None or abs(found.value) >= 10**21 or quantity.parse(str(found)) == found
