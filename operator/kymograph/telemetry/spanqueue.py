"""The queue of spans: a request is queued as it was recorded, and its spans are made by the thread that ships them.

What cannot be queued has not been rendered for nothing, and the event loop is held up by no slice of it, only by the
interpreter's own switching.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from kymograph.telemetry import export, memory, recorder, sharing

if TYPE_CHECKING:
    from kymograph.telemetry.encoding import Span

Render: TypeAlias = "Callable[[recorder.Recorder], Sequence[Span]]"
"""Makes the spans of a finished recorder."""


class ExportQueue(export.Queue["Span"], SpanProcessor):
    """The queue of spans; those of a request come as its recorder, and are counted before they are made.

    Args:
        render: Called in the shipping threads, rarely in two at a time.
        wall_clock: See `export.Queue`, as the rest.
        clock: See `export.Queue`.
        capacity: See `export.Queue`.
        linger: See `export.Queue`.
        grace: See `export.Queue`.
        room: See `export.Queue`.
    """

    def __init__(
        self,
        render: Render,
        *,
        wall_clock: Callable[[], int],
        clock: Callable[[], float],
        capacity: int = export.CAPACITY,
        linger: float = export.LINGER,
        grace: float = export.GRACE,
        room: memory.Share | None = None,
    ) -> None:
        super().__init__(wall_clock=wall_clock, clock=clock, capacity=capacity, linger=linger, grace=grace, room=room)
        self._render = render

    def offer(self, record: "recorder.Recorder | sharing.Shared") -> bool:
        """Accept a finished recorder, or what is shared with other queues, if there is room and anything behind it."""
        return self._accept((record.span_count, record.weight, record))

    def on_end(self, span: ReadableSpan) -> None:
        """Accept a span that the SDK's tracer ended; see `SpanProcessor`."""
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled:
            self._accept((1, sharing.weight_of(span), span))

    def shutdown(self) -> None:
        """Close with the SDK's default patience; see `SpanProcessor`."""
        self.close(self._grace)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush; see `SpanProcessor`."""
        return self.flush(timeout_millis / 1_000)

    def _items(self, body: Any) -> "Sequence[Span]":
        if isinstance(body, recorder.Recorder):
            return self._render(body)
        return body.spans() if isinstance(body, sharing.Shared) else (body,)
