"""Kyverno's functions of time; both tables were checked against Kyverno."""

import pytest

from kymograph.engine import budget, errors, jmespath, needs

RESULTS = [
    ("time_since('', '2021-01-02T15:04:05-07:00', '2021-01-10T03:14:05-07:00')", "180h10m0s"),
    (
        "time_since('Mon Jan _2 15:04:05 MST 2006', 'Mon Jan 02 15:04:05 MST 2021', 'Mon Jan 10 03:14:16 MST 2021')",
        "180h10m11s",
    ),
    ("time_to_cron('2023-02-02T15:04:00Z')", "4 15 2 2 4"),
    ("time_to_cron('2023-01-01T03:04:05+05:00')", "4 3 1 1 0"),
    ("time_add('2021-01-02T15:04:05-07:00', '3h')", "2021-01-02T18:04:05-07:00"),
    ("time_add('9999-12-31T23:00:00Z', '2h')", "10000-01-01T01:00:00Z"),
    ("time_add('0000-01-01T00:00:00Z', '-24h')", "-0001-12-31T00:00:00Z"),
    ("time_parse('Mon, 02 Jan 2006 15:04:05 MST', 'Sat, 02 Jan 2021 15:04:05 GMT+3')", "2021-01-02T18:04:05+03:00"),
    ("time_parse('2006-01-02', '2021-06-01')", "2021-06-01T00:00:00Z"),
    ("time_parse('3:04PM', '12:30AM')", "0000-01-01T00:30:00Z"),
    ("time_parse('2006 002', '2020 366')", "2020-12-31T00:00:00Z"),
    ("time_parse('Jan _2 06', 'feb  3 69')", "1969-02-03T00:00:00Z"),
    ("time_parse('02/01/2006 15:04:05', '01/02/2021 03:04:05.25')", "2021-02-01T03:04:05Z"),
    ("time_parse('20060102150405-0700', '20210102030405+0130')", "2021-01-02T03:04:05+01:30"),
    ("time_parse('2006-01-02T15:04:05.000Z', '2021-01-02T03:04:05.123Z')", "2021-01-02T03:04:05Z"),
    ("time_parse('123', '1669000000')", "2022-11-21T03:06:40Z"),
    ("time_parse('1', '-1')", "1969-12-31T23:59:59Z"),
    ("time_utc('2021-01-02T15:04:05-07:00')", "2021-01-02T22:04:05Z"),
    ("time_diff('2021-01-02T15:04:05Z', '2021-01-02T16:04:05.5Z')", "1h0m0.5s"),
    ("time_diff('0001-01-01T00:00:00Z', '9999-01-01T00:00:00Z')", "2562047h47m16.854775807s"),
    ("time_before('2021-01-02T15:04:05+01:00', '2021-01-02T15:04:05Z')", True),
    ("time_after('2021-01-02T15:04:05+01:00', '2021-01-02T15:04:05Z')", False),
    ("time_between('2021-01-02T00:00:00Z', '2021-01-01T00:00:00Z', '2021-01-03T00:00:00Z')", True),
    ("time_between('2021-01-01T00:00:00Z', '2021-01-01T00:00:00Z', '2021-01-03T00:00:00Z')", False),
    ("time_truncate('2021-01-02T17:04:05Z', '2h')", "2021-01-02T16:00:00Z"),
    ("time_truncate('2021-01-07T17:04:05+05:30', '168h')", "2021-01-04T05:30:00+05:30"),
    ("time_truncate('2021-01-02T17:04:05Z', '0s')", "2021-01-02T17:04:05Z"),
]

REFUSALS = [
    ("time_utc('x')", 'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"'),
    ("time_utc('2021-02-29T00:00:00Z')", 'parsing time "2021-02-29T00:00:00Z": day out of range'),
    ("time_utc('2021-01-01T24:00:00Z')", 'parsing time "2021-01-01T24:00:00Z": hour out of range'),
    ("time_utc('2021-01-01T00:00:00Zx')", 'parsing time "2021-01-01T00:00:00Zx": extra text: "x"'),
    (
        "time_utc('2021-01-01T00:00:00+25:00')",
        'parsing time "2021-01-01T00:00:00+25:00": time zone offset hour out of range',
    ),
    (
        "time_utc('\xe9\"')",
        ('parsing time "\\xc3\\xa9\\"" as "2006-01-02T15:04:05Z07:00": cannot parse "\\xc3\\xa9\\"" as "2006"'),
    ),
    ("time_add('2021-01-02T15:04:05Z', '1d')", 'time: unknown unit "d" in duration "1d"'),
    ("time_add('2021-01-02T15:04:05Z', '1')", 'time: missing unit in duration "1"'),
    ("time_add('2021-01-02T15:04:05Z', 'x')", 'time: invalid duration "x"'),
    ("time_add('2021-01-02T15:04:05Z', '')", 'time: invalid duration ""'),
    ("time_parse('123', 'x')", 'strconv.ParseInt: parsing "x": invalid syntax'),
    ("time_parse('1', '99999999999999999999')", 'strconv.ParseInt: parsing "99999999999999999999": value out of range'),
    ("time_parse('2006 002', '2021 366')", 'parsing time "2021 366": day-of-year out of range'),
    ("time_parse('2006 002 01', '2021 060 01')", 'parsing time "2021 060 01": day-of-year does not match month'),
    ("time_parse('3PM', '13PM')", 'parsing time "13PM": hour out of range'),
    ("time_truncate('2021-01-02T15:04:05Z', '1y')", 'time: unknown unit "y" in duration "1y"'),
    (
        "time_between('2021-01-01T00:00:00Z', '2021-01-01T00:00:00Z', 'x')",
        'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"',
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


def test_now_is_asked_for() -> None:
    with pytest.raises(needs.Needed) as missing:
        jmespath.compile("time_now()").search({}, budget.Budget(facts=needs.Facts()))
    assert missing.value.need == needs.Now()


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("time_now()", "2021-01-02T03:04:05Z"),
        ("time_now_utc()", "2021-01-02T03:04:05Z"),
        ("time_since('', '2021-01-02T00:00:00Z', '')", "3h4m5.5s"),
    ],
)
def test_now_is_one_moment(expression: str, result: str) -> None:
    facts = needs.Facts()
    facts.add(needs.Now(), 1_609_556_645_500_000_000)
    assert jmespath.compile(expression).search({}, budget.Budget(facts=facts)) == result
