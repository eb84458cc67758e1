"""Spans for several destinations at once: made once, each with a queue, an exporter and a thread of its own.

Destinations share what they send and nothing else. One that is slow or gone fills its own queue and loses its own
spans; the others are as fast as alone. With one destination, which is the rule, nothing here is in the way.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from opentelemetry.sdk.trace import ReadableSpan

if TYPE_CHECKING:
    from kymograph.telemetry.encoding import Span
    from kymograph.telemetry.recorder import Recorder


SPAN = 4_096
"""Bytes of a span of the SDK without its texts: its object, those of its attributes, and what is written of it."""

Encode: TypeAlias = "Callable[[ReadableSpan], Span]"
"""Makes of a span of the SDK what all exporters can send as it is."""


class Shared:
    """Spans that several queues hold: whoever ships them first makes them, in its shipping thread.

    Args:
        span_count: How many there will be.
        weight: How many bytes they and what they are made from hold.
        make: Makes them; called once, unless it fails.
    """

    __slots__ = ("_busy", "_made", "_make", "span_count", "weight")

    def __init__(self, span_count: int, weight: int, make: "Callable[[], Sequence[Span]]") -> None:
        self.span_count = span_count
        self.weight = weight
        self._make: Callable[[], Sequence[Span]] | None = make
        self._made: Sequence[Span] = ()
        self._busy = threading.Lock()

    def spans(self) -> "Sequence[Span]":
        """The spans, made now or before."""
        with self._busy:
            if self._make is not None:
                self._made = self._make()
                self._make = None  # and with it what they were made from
            return self._made


class SpanQueue(Protocol):
    """What is asked of the queue of one destination."""

    enabled: bool

    def offer(self, record: "Recorder | Shared") -> bool:
        """Accept spans to be made, if there is room."""

    def on_end(self, span: ReadableSpan) -> None:
        """Accept a span, if there is room."""


class Fan:
    """Gives finished requests and spans to every destination's queue.

    Args:
        first: The queue of the destination that is always there.
        render: Makes the spans of a finished recorder.
        encode: See `Encode`.
    """

    def __init__(
        self,
        first: SpanQueue,
        render: "Callable[[Recorder], Sequence[Span]]",
        encode: Encode,
    ) -> None:
        self._first = first
        self._others: tuple[SpanQueue, ...] = ()
        self._render = render
        self._encode = encode

    def widen(self, others: Iterable[SpanQueue]) -> None:
        """From now on these, too, are given everything, and no other ones."""
        self._others = tuple(others)

    def offer(self, record: "Recorder") -> bool:
        """Accept a finished recorder; whether any queue took it."""
        others = self._others
        if not others:
            return self._first.offer(record)
        shared = Shared(record.span_count, record.weight, lambda: self._render(record))
        taken = [queue.offer(shared) for queue in (self._first, *others)]
        return any(taken)

    def keep(self, span: ReadableSpan) -> None:
        """Accept a span that the SDK's tracer ended and nobody sampled."""
        shared = Shared(1, weight_of(span), lambda: (self._encode(span),))
        for queue in (self._first, *self._others):
            queue.offer(shared)

    def on_end(self, span: ReadableSpan) -> None:
        """Accept a span that the SDK's tracer ended."""
        others = self._others
        if not others:
            self._first.on_end(span)
            return
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled:
            shared = Shared(1, weight_of(span), lambda: (self._encode(span),))
            for queue in (self._first, *others):
                queue.offer(shared)


def weight_of(span: ReadableSpan) -> int:
    """Bytes that a span of the SDK holds, about: its texts twice, as they are and as they are written."""
    return SPAN + _texts(span.attributes) + sum(_texts(event.attributes) for event in span.events)


def _texts(attributes: Mapping[str, Any] | None) -> int:
    return sum(2 * len(each) for each in (attributes or {}).values() if isinstance(each, str))
