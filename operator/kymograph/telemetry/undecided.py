"""Traces of background work that nobody sampled and a keep rule may still keep: held until their root has ended.

Of the rules, `errors`, `policies` and `namespaces` are for such work, too; `denied` and `slowerThan` are about requests
(a scan is not slow because it takes longer than one). As with requests, those who were called were told that the trace
is not sampled, and stay so.
"""

import collections
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, StatusCode

from kymograph.apimachinery import objectkey
from kymograph.telemetry import keeping, memory, semconv, sharing, toldspans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from kymograph.telemetry import settings

MOST_TRACES = 1_000
"""Traces that are held at once; of more, those that have waited longest for their root are given up."""

MOST_SPANS = 2_000
"""Spans of one trace; of more it is told how many are missing."""

MOST_GIVEN_UP = 4_000
"""Traces that were given up and whose missing spans are still counted: half a megabyte of numbers."""


class _Trace:
    """The spans of a trace that have ended."""

    __slots__ = ("claim", "dropped", "spans")

    def __init__(self, room: memory.Share) -> None:
        self.spans: list[ReadableSpan] = []
        self.dropped = 0
        self.claim = room.claim()

    def add(self, span: "ReadableSpan") -> None:
        if len(self.spans) < MOST_SPANS and self.claim.grow(sharing.weight_of(span)):
            self.spans.append(span)
        else:
            self.dropped += 1


class Undecided:
    """Passes on what is sampled as it ends, and of the rest what a rule keeps. Used by the thread of the event loop.

    Args:
        current: Gives the settings in force, or None when no spans are made.
        sampled: Takes a span of a trace that is sampled.
        kept: Takes a span of one that a rule keeps.
        room: What is held may take so much of memory.
    """

    def __init__(
        self,
        current: "Callable[[], settings.TraceSettings | None]",
        sampled: "Callable[[ReadableSpan], None]",
        kept: "Callable[[ReadableSpan], None]",
        room: memory.Share,
    ) -> None:
        self._current = current
        self._sampled = sampled
        self._kept = kept
        self._room = room
        self._traces: collections.OrderedDict[int, _Trace] = collections.OrderedDict()
        self._given_up: collections.OrderedDict[int, int] = collections.OrderedDict()  # how many spans each has lost

    def ended(self, span: "ReadableSpan") -> None:
        """A span has ended; that of a root decides about its trace."""
        context = span.get_span_context()
        if context is None or context.trace_flags.sampled:
            self._sampled(span)
            return
        trace_id = context.trace_id
        if span.parent is None:
            self._decide(span, self._traces.pop(trace_id, None), self._given_up.pop(trace_id, 0))
        elif trace_id in self._given_up:
            self._given_up[trace_id] += 1
        elif trace_id in self._traces:
            self._traces[trace_id].add(span)
        else:
            self._hold(trace_id).add(span)

    def _hold(self, trace_id: int) -> _Trace:
        """A trace of which nothing is held yet; too many, and the one that has waited longest goes."""
        held = self._traces[trace_id] = _Trace(self._room)
        if len(self._traces) > MOST_TRACES:
            oldest, given_up = self._traces.popitem(last=False)
            self._given_up[oldest] = len(given_up.spans) + given_up.dropped
            if len(self._given_up) > MOST_GIVEN_UP:
                self._given_up.popitem(last=False)
        return held

    def _decide(self, root: "ReadableSpan", held: _Trace | None, missing: int) -> None:
        traces = self._current()
        within: list[ReadableSpan] = []
        if held is not None:
            within, missing = held.spans, held.dropped
        rule = "" if traces is None else _rule(traces.keep, (*within, root))
        if not rule:
            return
        for span in within:
            self._kept(span)
        said = {**(root.attributes or {}), semconv.KEPT_BY: rule}
        if missing:
            said[semconv.STEPS_DROPPED] = missing
        self._kept(toldspans.copied(root, attributes=said))


def _rule(keep: keeping.Keep, spans: "tuple[ReadableSpan, ...]") -> str:
    """The rule by which a trace is kept; empty if none does. That a call failed is not yet an error of who called."""
    root = spans[-1]
    if keep.errors and any(
        span.status.status_code is StatusCode.ERROR and (span.kind is not SpanKind.CLIENT or span is root)
        for span in spans
    ):
        return keeping.ERROR
    if keep.policies and any(not keep.policies.isdisjoint(_policies(span)) for span in spans):
        return keeping.POLICY
    if keep.namespaces and any(
        (span.attributes or {}).get(semconv.OBJECT_NAMESPACE) in keep.namespaces for span in spans
    ):
        return keeping.NAMESPACE
    return ""


def _policies(span: "ReadableSpan") -> tuple[str, ...]:
    said = span.attributes or {}
    name, namespace = said.get(semconv.POLICY_NAME), said.get(semconv.POLICY_NAMESPACE)
    return () if not name else (objectkey.of(str(namespace or ""), str(name)),)
