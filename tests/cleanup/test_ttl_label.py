"""The label says when: Kyverno's three forms, and nothing that could be misread."""

import contextlib
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymograph.controllers.cleanup import ttl

CREATED = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)


def labelled(text, *, propagation="", created="2024-03-01T12:00:00Z", **metadata):
    return ttl.read(
        {
            "metadata": {
                "uid": "u",
                "resourceVersion": "7",
                "creationTimestamp": created,
                "labels": {ttl.LABEL: text},
                "annotations": {ttl.PROPAGATION_ANNOTATION: propagation} if propagation else None,
                **metadata,
            }
        }
    )


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("0", dt.timedelta()),
        ("10s", dt.timedelta(seconds=10)),
        ("1h30m", dt.timedelta(minutes=90)),
        ("1.5h", dt.timedelta(minutes=90)),
        ("500ms", dt.timedelta(seconds=0.5)),
        ("1d", dt.timedelta(days=1)),
        ("2d12h", dt.timedelta(days=2, hours=12)),
        ("1w-2days", dt.timedelta(days=9)),
        ("1d_12h.30MIN", dt.timedelta(days=1, hours=12, minutes=30)),
        ("3Weeks", dt.timedelta(weeks=3)),
        ("2hr", dt.timedelta(hours=2)),
        ("90seconds", dt.timedelta(seconds=90)),
    ],
)
def test_a_duration_counts_from_the_creation(text, after) -> None:
    """Go's durations, and the units that kube-openapi adds to them."""
    assert labelled(text).due == (CREATED + after).timestamp()


@pytest.mark.parametrize(
    ("text", "propagation", "told"),
    [
        ("1.5d", "", ["label value cannot be parsed as any recognizable format ('1.5d' is neither"]),
        ("1h", "orphan", ["annotation cannot be followed ('orphan' is no propagation policy"]),
        ("soon", "never", ["'soon' is neither", "'never' is no propagation policy"]),
        ("1h", "Orphan", []),
        ("2030-01-31", "", []),
        (None, "never", []),
    ],
)
def test_who_writes_what_cannot_be_followed_is_told(text, propagation, told) -> None:
    """Of an object that has neither uid nor version yet."""
    labels = {} if text is None else {ttl.LABEL: text}
    annotations = {ttl.PROPAGATION_ANNOTATION: propagation} if propagation else {}
    advice = ttl.advice({"metadata": {"labels": labels, "annotations": annotations}})
    assert len(advice) == len(told)
    for said, part in zip(advice, told, strict=True):
        assert part in said


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2023-07-19T120000Z", dt.datetime(2023, 7, 19, 12, tzinfo=dt.UTC)),
        ("2023-07-19T120000.5Z", dt.datetime(2023, 7, 19, 12, 0, 0, 500_000, tzinfo=dt.UTC)),
        ("2023-07-19", dt.datetime(2023, 7, 19, tzinfo=dt.UTC)),
        ("2024-02-29", dt.datetime(2024, 2, 29, tzinfo=dt.UTC)),
    ],
)
def test_a_time_and_a_date_are_utc_whenever_the_object_was_made(text, moment) -> None:
    assert labelled(text).due == labelled(text, created=None).due == moment.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "never",
        "10ay",
        "1.5d",
        "1month2d",
        "2d-forever",
        "5",
        "1d-",
        "2023-07-19T12:00:00Z",
        "2023-07-19T120000",
        "2023-7-19",
        "2023-02-30",
        "2023-07-19T250000Z",
        "99999999999999999999d",
        "20000000w",
    ],
)
def test_what_is_none_of_the_three_is_refused_by_its_name(text) -> None:
    """Among them what Kyverno would read as something else: five days, two days."""
    with pytest.raises(ValueError, match="neither a duration") as refused:
        _ = labelled(text).due
    assert repr(text) in str(refused.value)


def test_a_duration_needs_a_creation() -> None:
    """Counted from nothing, every duration would be over."""
    for created in (None, "yesterday"):
        with pytest.raises(ValueError, match="does not say when"):
            _ = labelled("1h", created=created).due


@pytest.mark.parametrize("policy", sorted(ttl.PROPAGATION_POLICIES))
def test_known_propagation_policies_are_taken(policy) -> None:
    assert labelled("1h", propagation=policy).wish.propagation == policy
    assert labelled("1h", propagation=policy).due


@pytest.mark.parametrize("policy", ["orphan", "Cascade"])
def test_an_unknown_propagation_policy_is_refused(policy) -> None:
    """Whoever misspells Orphan wants dependents to live."""
    with pytest.raises(ValueError, match="Background, Foreground, Orphan"):
        _ = labelled("1h", propagation=policy).due


def test_nothing_is_asked_by_what_has_no_label_or_is_going() -> None:
    """Servers of aggregated APIs may ignore a label selector; a deletion under way is not asked for again."""
    assert ttl.read({"metadata": {"uid": "u", "resourceVersion": "1"}}) is None
    assert labelled("1h", labels={"other": "1h"}) is None
    assert labelled("1h", deletionTimestamp="2024-03-01T12:00:00Z") is None


@given(st.text(alphabet="0123456789dhmswTZ.-_ye", max_size=63))
def test_every_text_is_read_or_refused(text) -> None:
    """Labels are written by anybody: no value raises anything but the refusal."""
    with contextlib.suppress(ValueError):
        assert isinstance(labelled(text).due, float)


@given(st.integers(0, 10**5), st.sampled_from(["s", "m", "h"]))
def test_short_and_long_units_mean_the_same(number, unit) -> None:
    """Go reads the short ones, the table the long ones: they agree."""
    long = {"s": "seconds", "m": "minutes", "h": "hours"}[unit]
    assert ttl.find_duration(f"{number}{unit}") == ttl.find_duration(f"{number}{long}")
