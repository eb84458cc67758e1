"""Steps of which spans are made afterwards stand within the span that was open, however long a thread has to wait."""

import itertools

import pytest

from kymograph.controllers import steptraces
from kymograph.controllers.reports import findings
from kymograph.controllers.reports.scans import tracing
from kymograph.engine.watching import Step

MILLISECOND = 1_000_000
EPOCH = 10**18


class Clocks:
    """Two clocks of one time; whoever looks at that on the wall has to wait, before or after."""

    def __init__(self, *waits: tuple[int, int]) -> None:
        self.now = 0
        self._waits = itertools.chain(waits, itertools.repeat((0, 0)))

    def monotonic(self) -> int:
        return self.now

    def wall(self) -> int:
        before, after = next(self._waits)
        self.now += before + after
        return EPOCH + self.now - after

    def noted(self) -> steptraces.Trail:
        """What an evaluation noted that began just now."""
        trail = steptraces.Trail(self.now)
        trail.extend([(Step.CONTEXT, "name", self.now + 1), ("ok", "", self.now + 2)])
        self.now += 3
        return trail


def describe(step, subject):
    return Step(step).name, {}


WAITS = [[(50 * MILLISECOND, 0)], [(0, 50 * MILLISECOND)]]


@pytest.mark.parametrize("waits", WAITS)
def test_steps_begin_and_end_within_the_span_around_them(tracer, exported, waits) -> None:
    clocks = Clocks(*waits)
    around = tracer.start_span("around", start_time=EPOCH + clocks.now)
    steps = steptraces.StepTraces(tracer, describe, clocks.monotonic, clocks.wall)
    steps.tell(clocks.noted(), around)
    around.end(EPOCH + clocks.now)
    inner, outer = exported.get_finished_spans()
    assert outer.start_time <= inner.start_time <= inner.end_time <= outer.end_time


@pytest.mark.parametrize("waits", WAITS)
def test_the_span_of_a_scanned_object_is_told_by_the_same_look(tracer, exported, waits) -> None:
    """It, too, is made afterwards: it begins before what is in it."""
    clocks = Clocks(*waits)
    traces = tracing.Traces(tracer, describe, clocks.monotonic, clocks.wall)
    traces.tell(clocks.noted(), findings.Subject("", "v1", "ConfigMap", "shop", "c", "uid"), alone=False)
    inner, outer = exported.get_finished_spans()
    assert inner.start_time - outer.start_time == 1
