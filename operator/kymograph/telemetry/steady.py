"""Spans of the SDK's tracers last as long as what they tell of, also where the wall clock is set meanwhile.

The SDK looks at the wall clock at a span's start and again at its end. A clock that is set between the two makes the
span weeks long, or end before it began. So its end is taken from a monotonic clock where the two disagree; reviews
(`recorder`) look at the wall clock once anyway, and spans whose maker says when they were are left as they are.
"""

import collections
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from kymograph.telemetry import toldspans

if TYPE_CHECKING:
    from opentelemetry.context import Context

TOLERANCE = 10_000_000
"""Nanoseconds that the two clocks may differ by: a clock that is slewed, or a thread that had to wait between looks."""

MOST_OPEN = 10_000
"""Spans whose start is remembered; of more, those begun first are left as the SDK has them."""


class SteadySpans(SpanProcessor):
    """Passes spans on as they end, with the durations that they had and as they may be told (`toldspans`).

    Args:
        clock: Monotonic nanoseconds.
        wall_clock: Nanoseconds since the epoch: the clock that the SDK looks at.
        ended: Takes each span.
    """

    def __init__(
        self, clock: Callable[[], int], wall_clock: Callable[[], int], ended: Callable[[ReadableSpan], None]
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._ended = ended
        self._began: collections.OrderedDict[int, int] = collections.OrderedDict()

    def on_start(self, span: Span, parent_context: "Context | None" = None) -> None:  # noqa: ARG002 - the SDK's signature
        """Remember when it began, if that was now; see `SpanProcessor`."""
        began = self._clock()  # between two looks at the wall clock: no later than these are apart
        if span.start_time is None or abs(self._wall_clock() - span.start_time) > TOLERANCE // 2:
            return
        if len(self._began) >= MOST_OPEN:
            self._began.popitem(last=False)
        self._began[span.get_span_context().span_id] = began

    def on_end(self, span: ReadableSpan) -> None:
        """Pass it on; see `SpanProcessor`."""
        context = span.get_span_context()
        began = None if context is None else self._began.pop(context.span_id, None)
        if began is not None and span.start_time is not None and span.end_time is not None:
            end = span.start_time + self._clock() - began
            if abs(span.end_time - end) > TOLERANCE:
                span = toldspans.copied(span, end_time=end)
        self._ended(toldspans.told(span))
