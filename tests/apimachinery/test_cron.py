"""Cron schedules as robfig/cron reads and times them."""

import datetime as dt
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymograph.apimachinery import cron

MINUTE = dt.timedelta(minutes=1)


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("*/15 * * * *", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
        ("*/15 * * * *", "2012-07-09T14:59:59Z", "2012-07-09T15:00:00Z"),
        ("20-35/15 * * * *", "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z"),
        ("0 0 * Feb Mon", "2012-07-09T23:35:00Z", "2013-02-04T00:00:00Z"),
        ("0 0 29 Feb ?", "2012-03-01T00:00:00Z", "2016-02-29T00:00:00Z"),
        ("*/5 10-12 * * *", "2012-12-31T23:59:45Z", "2013-01-01T10:00:00Z"),
        ("5/20 * * * *", "2012-07-09T14:06:00Z", "2012-07-09T14:25:00Z"),
        ("0 0 1,15 * sun", "2012-07-09T00:00:00Z", "2012-07-15T00:00:00Z"),
        ("@hourly", "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
        ("@daily", "2012-07-09T14:45:00Z", "2012-07-10T00:00:00Z"),
        ("@midnight", "2012-07-10T00:00:00Z", "2012-07-11T00:00:00Z"),
        ("@weekly", "2012-07-09T14:45:00Z", "2012-07-15T00:00:00Z"),
        ("@monthly", "2012-07-09T14:45:00Z", "2012-08-01T00:00:00Z"),
        ("@yearly", "2012-07-09T14:45:00Z", "2013-01-01T00:00:00Z"),
        ("@annually", "2012-07-09T14:45:00Z", "2013-01-01T00:00:00Z"),
        ("@every 2s", "2012-07-09T14:45:00.7Z", "2012-07-09T14:45:02Z"),
        ("@every 1h30m", "2012-07-09T14:45:00Z", "2012-07-09T16:15:00Z"),
        ("@every 100ms", "2012-07-09T14:45:00Z", "2012-07-09T14:45:01Z"),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", "2012-07-09T00:00:00Z", "2012-07-10T00:00:00Z"),
        ("TZ=Asia/Tokyo @daily", "2012-07-09T00:00:00Z", "2012-07-09T15:00:00Z"),
    ],
)
def test_the_next_moment(schedule: str, after: str, expected: str) -> None:
    """Of every form of a schedule."""
    assert cron.parse(schedule).next(moment(after)) == moment(expected)


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        ("30 2 11 Mar ?", "2012-03-11T00:00:00-05:00", "2013-03-11T02:30:00-04:00"),
        ("0 * * * ?", "2012-03-11T01:00:00-05:00", "2012-03-11T03:00:00-04:00"),
        ("0 2 * * ?", "2012-03-11T00:00:00-05:00", "2012-03-12T02:00:00-04:00"),
        ("30 2 04 Nov ?", "2012-11-04T00:00:00-04:00", "2012-11-04T02:30:00-05:00"),
        ("30 1 04 Nov ?", "2012-11-04T01:45:00-04:00", "2012-11-04T01:30:00-05:00"),
        ("0 * * * ?", "2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00"),
        ("0 1 * * ?", "2012-11-04T01:00:00-04:00", "2012-11-04T01:00:00-05:00"),
        ("0 1 * * ?", "2012-11-04T01:00:00-05:00", "2012-11-05T01:00:00-05:00"),
    ],
)
def test_clocks_that_are_changed(fields: str, after: str, expected: str) -> None:
    """A time that the clock leaps over does not come; one that it shows twice comes twice."""
    assert cron.parse(f"CRON_TZ=America/New_York {fields}").next(moment(after)) == moment(expected)


@pytest.mark.parametrize("schedule", ["0 0 13 * fri", "0 0 */13 * 5", "0 0 */1 * fri", "0 0 ? * fri"])
def test_days_of_both_kinds(schedule: str) -> None:
    """Where both are restricted one is enough; a step restricts a star."""
    times = cron.parse(schedule)
    after, seen = moment("2024-01-01T12:00:00Z"), []
    for _ in range(20):
        after = times.next(after)
        seen.append((after.day, after.isoweekday()))
    restricted = "13" in schedule
    assert all(weekday == 5 or (restricted and day in times.days) for day, weekday in seen)
    assert any(weekday != 5 for _, weekday in seen) == restricted


@pytest.mark.parametrize("schedule", ["0 0 30 2 *", "0 0 31 4,6 ?", ", * * * *"])
def test_what_never_comes(schedule: str) -> None:
    """Within five years there is no such day."""
    assert cron.parse(schedule).next(moment("2024-01-01T00:00:00Z")) is None


def test_the_end_of_the_calendar() -> None:
    """Nothing comes after it."""
    end = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    assert cron.parse("@every 1h").next(end) is None
    assert cron.parse("* * * * *").next(end) is None


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "invalid-schedule",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "5-3 * * * *",
        "*/0 * * * *",
        "1-2-3 * * * *",
        "1/2/3 * * * *",
        "-1 * * * *",
        "1_0 * * * *",
        "L * * * *",
        "mon * * * *",
        "@reboot",
        "@every",
        "@every soon",
        "@Hourly",
        "TZ=UTC",
        "TZ=Nowhere/Else * * * * *",
        "TZ=../../etc/passwd * * * * *",
    ],
)
def test_what_is_no_schedule(schedule: str) -> None:
    """Is refused."""
    with pytest.raises(ValueError, match=r"field|zone|schedule|descriptor|duration"):
        cron.parse(schedule)


ZONES = ("UTC", "America/New_York", "Europe/Oslo", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu")


@st.composite
def schedules(draw: st.DrawFn) -> tuple[str, str]:
    def field(low: int, high: int) -> str:
        number = st.integers(low, high)
        return draw(
            st.one_of(
                st.just("*"),
                number.map(str),
                st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}"),
                st.integers(1, high).map(lambda step: f"*/{step}"),
                st.lists(number, min_size=1, max_size=4).map(lambda some: ",".join(map(str, some))),
            )
        )

    fields = " ".join((field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)))
    return fields, draw(st.sampled_from(ZONES))


def matches(times: cron.Times, instant: dt.datetime) -> bool:
    """Whether a wall clock shows a matching minute: the definition, minute by minute."""
    shown = instant.astimezone(times.zone)
    of_month, of_week = shown.day in times.days, shown.isoweekday() % 7 in times.weekdays
    return (
        shown.minute in times.minutes
        and shown.hour in times.hours
        and shown.month in times.months
        and ((of_month and of_week) if times.both else (of_month or of_week))
    )


@settings(max_examples=150, deadline=None)
@given(schedules(), st.integers(1_262_304_000, 1_546_300_800))
def test_nothing_is_left_out(written: tuple[str, str], seconds: int) -> None:
    """The next moment is after the given one, matches, and no minute of the two days before it or after that does."""
    fields, zone = written
    after = dt.datetime.fromtimestamp(seconds, dt.UTC)  # from 2010 to 2018
    times = cron.parse(f"TZ={zone} {fields}")
    found = times.next(after)
    last = after + dt.timedelta(days=2) if found is None else found
    if found is not None:
        assert found > after
        assert found.second == found.microsecond == 0
        assert matches(times, found)
    instant = max(after.replace(second=0, microsecond=0) + MINUTE, last - dt.timedelta(days=2))
    while instant < last:
        assert not matches(times, instant)
        instant += MINUTE


TRANSITIONS = (
    ("America/New_York", "2012-11-03T12:00:00Z"),
    ("Australia/Lord_Howe", "2012-03-31T00:00:00Z"),
    ("Australia/Lord_Howe", "2012-10-06T00:00:00Z"),
    ("America/Sao_Paulo", "2012-10-20T12:00:00Z"),
    ("America/Sao_Paulo", "2013-02-16T12:00:00Z"),
)


@pytest.mark.parametrize(("zone", "start"), TRANSITIONS)
@pytest.mark.parametrize("fields", ["*/7 * * * *", "30 0-3 * * *", "0 0 * * *", "45 1,23 * * 0,6"])
def test_around_every_kind_of_change(zone: str, start: str, fields: str) -> None:
    """Half an hour, at midnight, forward and back: exactly the minutes that the clock shows, in their order."""
    times = cron.parse(f"CRON_TZ={zone} {fields}")
    assert isinstance(times, cron.Times)
    assert times.zone == zoneinfo.ZoneInfo(zone)
    begin = moment(start)
    expected = [each for minute in range(1, 2 * 1440) if matches(times, each := begin + minute * MINUTE)]
    found, at = [], begin
    while (at := times.next(at)) is not None and at < begin + 2 * 1440 * MINUTE:
        found.append(at)
    assert found == expected
