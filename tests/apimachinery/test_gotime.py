"""Times by Go's layouts; the tables were checked against `time.Parse` and `Time.Format`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.apimachinery import calendar, gotime

READ = [
    (gotime.RFC3339, "2021-01-02T15:04:05Z", "2021-01-02T15:04:05Z"),
    (gotime.RFC3339, "2021-01-02T15:04:05.999999999-07:00", "2021-01-02T15:04:05-07:00"),
    (gotime.RFC3339, "2021-01-02T1:04:05,5+24:60", "2021-01-02T01:04:05+25:00"),
    ("Mon Jan _2 15:04:05 2006", "sat jan  2 15:04:05 2021", "2021-01-02T15:04:05Z"),
    ("Monday, 02-Jan-06 15:04:05 MST", "Saturday, 02-Jan-69 15:04:05 CEST", "1969-01-02T15:04:05Z"),
    ("January 2 2006", "february 29 2020", "2020-02-29T00:00:00Z"),
    ("3:04PM", "12:04AM", "0000-01-01T00:04:00Z"),
    ("3:04pm", "1:04pm", "0000-01-01T13:04:00Z"),
    ("2006 002", "2020 060", "2020-02-29T00:00:00Z"),
    ("2006 __2", "2021  60", "2021-03-01T00:00:00Z"),
    ("_2006", "_2021", "2021-01-01T00:00:00Z"),
    ("Janet 2006", "Janet 2021", "2021-01-01T00:00:00Z"),
    ("05.000 2006", "07,123 2021", "2021-01-01T00:00:07Z"),
    ("05.999 2006", "07 2021", "2021-01-01T00:00:07Z"),
    ("2006 -0700", "2021 +0130", "2021-01-01T00:00:00+01:30"),
    ("2006 -07", "2021 -07", "2021-01-01T00:00:00-07:00"),
    ("2006 Z07:00:00", "2021 +07:30:15", "2021-01-01T00:00:00+07:30"),
    ("2006 MST", "2021 GMT-3", "2020-12-31T21:00:00-03:00"),
    ("2006 MST", "2021 UTC", "2021-01-01T00:00:00Z"),
]

REFUSED = [
    ("2006-01-02", "2021-13-01", 'parsing time "2021-13-01": month out of range'),
    ("2006-01-02", "2021-02-30", 'parsing time "2021-02-30": day out of range'),
    ("2006-01-02", "2021-1-02", 'parsing time "2021-1-02" as "2006-01-02": cannot parse "1-02" as "01"'),
    ("2006-01-02", "2021-01-02x", 'parsing time "2021-01-02x": extra text: "x"'),
    ("15:04", "24:00", 'parsing time "24:00": hour out of range'),
    ("15:04", "1:60", 'parsing time "1:60": minute out of range'),
    ("3PM", "3pm", 'parsing time "3pm" as "3PM": cannot parse "pm" as "PM"'),
    ("2006 002", "2021 366", 'parsing time "2021 366": day-of-year out of range'),
    ("002 01", "060 01", 'parsing time "060 01": day-of-year does not match month'),
    ("002 2", "060 2", 'parsing time "060 2": day-of-year does not match day'),
    ("MST", "abc", 'parsing time "abc" as "MST": cannot parse "abc" as "MST"'),
    ("-07:00", "+25:00", 'parsing time "+25:00": time zone offset hour out of range'),
    ("06", "\u00e9", 'parsing time "\\xc3\\xa9" as "06": cannot parse "\\xc3\\xa9" as "06"'),
]


@pytest.mark.parametrize(("layout", "text", "shown"), READ)
def test_reads(layout: str, text: str, shown: str) -> None:
    assert gotime.parse(layout, text).rfc3339() == shown


@pytest.mark.parametrize(("layout", "text", "reason"), REFUSED)
def test_refuses_in_gos_words(layout: str, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="parsing time") as refused:
        gotime.parse(layout, text)
    assert str(refused.value) == reason


def test_fractions_are_read_to_the_nanosecond() -> None:
    assert gotime.parse(gotime.RFC3339, "1970-01-01T00:00:00.1234567899Z").nanoseconds == 123_456_789


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (gotime.Moment(0), "1970-01-01T00:00:00Z"),
        (gotime.Moment(-1), "1969-12-31T23:59:59Z"),
        (gotime.Moment(0, -1800), "1969-12-31T23:30:00-00:30"),
        (gotime.Moment(calendar.YEAR_ONE * 1_000_000_000 - 1), "0000-12-31T23:59:59Z"),
        (gotime.parse(gotime.RFC3339, "9999-12-31T23:59:59Z").add(1_000_000_000), "10000-01-01T00:00:00Z"),
        (gotime.parse(gotime.RFC3339, "0000-01-01T00:00:00Z").add(-1), "-0001-12-31T23:59:59Z"),
    ],
)
def test_writes(moment: gotime.Moment, shown: str) -> None:
    assert moment.rfc3339() == shown


@settings(deadline=None)
@given(st.integers(-62_167_219_200, 253_402_300_799), st.integers(-14 * 60, 14 * 60))
def test_what_is_written_reads_as_the_same_second(seconds: int, minutes: int) -> None:
    moment = gotime.Moment(seconds * 1_000_000_000, minutes * 60)
    if 0 <= moment.date().year <= 9999:
        assert gotime.parse(gotime.RFC3339, moment.rfc3339()) == moment


@settings(deadline=None)
@given(st.integers(-(10**20), 10**20), st.integers(1, 10**16))
def test_truncating_goes_down_to_a_multiple_since_the_year_one(nanoseconds: int, step: int) -> None:
    truncated = gotime.Moment(nanoseconds).truncate(step)
    assert 0 <= nanoseconds - truncated.nanoseconds < step
    assert (truncated.nanoseconds - calendar.YEAR_ONE * 1_000_000_000) % step == 0


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["2006", "01", "Jan", "_2", "002", "15", "3", "PM", "05", ".000", "MST", "Z07:00", "-"])),
    st.text(alphabet="0129 -+:.Z\u00e9PMUTCjan", max_size=12),
)
def test_no_text_breaks_the_reader(layout: list[str], text: str) -> None:
    try:
        shown = gotime.parse("".join(layout), text).rfc3339()
    except ValueError as refused:
        shown = str(refused)
    assert shown
