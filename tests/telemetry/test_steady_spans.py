"""Spans of tracers keep their durations when the wall clock is set while they are open."""

import pytest
from opentelemetry.sdk.trace import TracerProvider

from kymograph.telemetry import steady

SECOND = 1_000_000_000
DAY = 86_400 * SECOND


class Traced:
    """A tracer under clocks that a test sets."""

    def __init__(self) -> None:
        self.now = 5 * SECOND
        self.ended = []
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(steady.SteadySpans(lambda: self.now, lambda: DAY, self.ended.append))
        self.tracer = self.provider.get_tracer("test")

    def spend(self, lasts, shows, name="s"):
        """A span that lasts so long by the monotonic clock, and by the wall clock otherwise."""
        span = self.tracer.start_span(name, start_time=DAY, attributes={"a": 1})
        span.add_event("e")
        self.now += lasts
        span.end(DAY + shows)
        return self.ended[-1]


@pytest.mark.parametrize("shows", [-20 * DAY, -1, 20 * DAY])
def test_a_span_lasts_as_long_as_it_took(shows):
    """Whether the clock was set forward or back; all else stays as it was."""
    span = Traced().spend(SECOND, SECOND + shows)
    assert span.end_time - span.start_time == pytest.approx(SECOND, abs=steady.TOLERANCE)
    assert (span.name, dict(span.attributes), [event.name for event in span.events]) == ("s", {"a": 1}, ["e"])
    assert span.get_span_context().is_valid


def test_clocks_that_agree_are_left_alone():
    traced = Traced()
    assert traced.spend(SECOND, SECOND + steady.TOLERANCE).end_time == DAY + SECOND + steady.TOLERANCE


def test_a_thread_that_waits_while_a_span_begins_makes_it_no_shorter():
    """Between two looks at clocks, for as long as the machine likes."""
    traced = Traced()

    def looked() -> int:
        traced.now += SECOND
        return DAY

    traced.provider.add_span_processor(steady.SteadySpans(lambda: traced.now, looked, traced.ended.append))
    span = traced.spend(SECOND, 2 * SECOND)
    assert span.end_time - span.start_time == 2 * SECOND


def test_a_span_that_is_told_of_afterwards_is_left_alone():
    """Its maker says when it began and ended, and has looked at a monotonic clock itself."""
    traced = Traced()
    traced.tracer.start_span("earlier", start_time=DAY - 5 * SECOND).end(DAY - SECOND)
    (span,) = traced.ended
    assert (span.start_time, span.end_time) == (DAY - 5 * SECOND, DAY - SECOND)


def test_what_is_remembered_of_open_spans_is_bounded(monkeypatch):
    """Of too many, the first are passed on as they are."""
    monkeypatch.setattr(steady, "MOST_OPEN", 2)
    traced = Traced()
    first, *others = [traced.tracer.start_span(str(number), start_time=DAY) for number in range(3)]
    for span in (first, *others):
        span.end(DAY + DAY)
    assert [span.end_time - span.start_time for span in traced.ended] == [DAY, 0, 0]
