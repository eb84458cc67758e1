"""Durations read and write as Go's `time.ParseDuration` and `Duration.String`; the tables were checked against Go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.apimachinery import duration

READ = [
    ("0", 0),
    ("+0", 0),
    ("-0", 0),
    ("0s", 0),
    ("1ns", 1),
    ("1us", 1_000),
    ("1\u00b5s", 1_000),
    ("1\u03bcs", 1_000),
    ("1ms", 1_000_000),
    ("1s", 1_000_000_000),
    ("1m", 60_000_000_000),
    ("1h", 3_600_000_000_000),
    ("1h30m", 5_400_000_000_000),
    ("-1.5s", -1_500_000_000),
    ("+5s", 5_000_000_000),
    (".5s", 500_000_000),
    ("1.s", 1_000_000_000),
    ("3m2h", 7_380_000_000_000),
    ("0.3333333333333333333h", 1_200_000_000_000),
    (f"0.{'0' * 400}1s", 0),
    (f"{'0' * 5000}1s", 1_000_000_000),
    ("9223372036854775807ns", (1 << 63) - 1),
    ("-9223372036854775808ns", -(1 << 63)),
]

REFUSED = [
    "",
    "3",
    "-",
    "s",
    ".s",
    "+.s",
    "1d",
    "1w",
    "1h 30m",
    " 1h",
    "1h ",
    "1.2.3s",
    "1S",
    "1e3s",
    "9223372036854775808ns",
    "3000000h",
    "\u0661s",
]

WRITTEN = [
    (0, "0s"),
    (1, "1ns"),
    (1_100, "1.1\u00b5s"),
    (2_200_000, "2.2ms"),
    (1_500_000_000, "1.5s"),
    (60_000_000_000, "1m0s"),
    (3_600_000_000_000, "1h0m0s"),
    (5_400_000_000_000, "1h30m0s"),
    (-90_000_000_000, "-1m30s"),
    (245_000_000_001, "4m5.000000001s"),
    ((1 << 63) - 1, "2562047h47m16.854775807s"),
    (-(1 << 63), "-2562047h47m16.854775808s"),
]


@pytest.mark.parametrize(("text", "nanoseconds"), READ)
def test_reads(text: str, nanoseconds: int) -> None:
    assert duration.parse(text) == nanoseconds


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text: str) -> None:
    assert duration.find(text) is None
    with pytest.raises(ValueError, match="is no duration"):
        duration.parse(text)


@pytest.mark.parametrize(("nanoseconds", "text"), WRITTEN)
def test_writes(nanoseconds: int, text: str) -> None:
    assert duration.format(nanoseconds) == text


@given(st.integers(-(1 << 53), 1 << 53))
def test_what_is_written_reads_as_the_same_time(nanoseconds: int) -> None:
    assert duration.parse(duration.format(nanoseconds)) == nanoseconds


@given(st.text(alphabet="0123456789.+-hmsnu\u00b5 ", max_size=10))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = duration.find(text)
    assert found is None or -(1 << 63) <= found < 1 << 63


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'time: invalid duration ""'),
        ("x", 'time: invalid duration "x"'),
        ("1", 'time: missing unit in duration "1"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1h2", 'time: missing unit in duration "1h2"'),
        (".s", 'time: invalid duration ".s"'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
    ],
)
def test_says_why_in_gos_words(text: str, reason: str) -> None:
    assert duration.refusal(text) == reason
