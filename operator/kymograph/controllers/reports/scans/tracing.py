"""Scans as traces: a span for a kind, one for each batch of its objects, and below it what policies said of an object.

An object has spans of its own only if its trace is kept and it is news: ten thousand objects that are as they were
make no trace of half a million spans. The steps of an evaluation are noted as they are for a review, and become spans
once it is known that somebody wants them.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from kymograph.clients.kubernetes import resources
from kymograph.controllers.reports import findings
from kymograph.engine import watching
from kymograph.engine.rules import outcome
from kymograph.telemetry import rendering, semconv

MOST_BATCHES = 100
"""Spans of batches in the trace of one scan; the trace of a scan of more objects does not grow further."""

MOST_OBJECTS = 200
"""Objects with spans of their own in the trace of one scan: some ten thousand spans with 17 policies."""

MOST_STEPS = 8_192
"""Steps noted of one object; a policy may loop over as many elements as its budget allows."""

Describe: TypeAlias = Callable[[int, object], tuple[str, Mapping[str, Any]]]
"""Names a step of an evaluation and gives its attributes; the same as for reviews."""


class Trail:
    """What was noted of the evaluation of one object: a `watching.Watcher`.

    Attributes:
        began: When, in monotonic nanoseconds.
        steps: The steps.
    """

    __slots__ = ("began", "steps")

    def __init__(self, began: int) -> None:
        self.began = began
        self.steps: list[watching.Entry] = []

    def extend(self, steps: Sequence[watching.Entry]) -> None:
        """Note steps; past `MOST_STEPS` no more."""
        if len(self.steps) + len(steps) <= MOST_STEPS:
            self.steps += steps


class Traces:
    """Makes the spans of scans.

    Args:
        tracer: That of the reports controller.
        describe: Names the steps of an evaluation.
        clock: Monotonic nanoseconds, the clock of evaluations.
        wall_clock: Nanoseconds since the epoch.
    """

    def __init__(
        self, tracer: trace.Tracer, describe: Describe, clock: Callable[[], int], wall_clock: Callable[[], int]
    ) -> None:
        self._tracer = tracer
        self._describe = describe
        self._clock = clock
        self._wall_clock = wall_clock
        self._batches, self._objects = itertools.count(1), itertools.count(1)
        self._full = False

    @contextlib.contextmanager
    def scan(self, resource: resources.Resource, policies: Sequence[str]) -> Iterator[Span]:
        """The scan of a resource for some policies: a root."""
        self._batches, self._objects, self._full = itertools.count(1), itertools.count(1), False
        attributes = {
            semconv.OBJECT_GROUP: resource.group,
            semconv.OBJECT_VERSION: resource.version,
            semconv.OBJECT_RESOURCE: resource.plural,
            semconv.OBJECT_KIND: resource.kind,
            semconv.SCAN_POLICIES: tuple(policies),
        }
        with self._tracer.start_as_current_span(
            f"SCAN {resource.kind}", context=Context(), attributes=attributes
        ) as span:
            yield span

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """A page of its objects."""
        number = next(self._batches)
        if number > MOST_BATCHES:
            yield
            return
        with self._tracer.start_as_current_span("SCAN batch", attributes={semconv.SCAN_BATCH: number}):
            yield

    @contextlib.contextmanager
    def changed(self, resource: resources.Resource, namespace: str, name: str) -> Iterator[None]:
        """One object that has changed: a root, under which its policies stand."""
        attributes = {
            semconv.OBJECT_GROUP: resource.group,
            semconv.OBJECT_KIND: resource.kind,
            semconv.OBJECT_NAMESPACE: namespace,
            semconv.OBJECT_NAME: name,
        }
        with self._tracer.start_as_current_span("SCAN object", context=Context(), attributes=attributes):
            yield

    def trail(self, *, alone: bool) -> Trail | None:
        """Where the steps of the next evaluation are to be noted; None where nobody would look at them.

        Args:
            alone: The current span is the object's already (`changed`).
        """
        if (self._full and not alone) or not trace.get_current_span().is_recording():
            return None
        return Trail(self._clock())

    def tell(self, trail: Trail, subject: findings.Subject, *, alone: bool) -> None:
        """Make spans of what was noted.

        Args:
            trail: What was noted.
            subject: The object.
            alone: The current span is the object's already (`changed`).
        """
        offset = self._wall_clock() - self._clock()
        if alone:
            self._spans(trail, trace.get_current_span(), offset)
            return
        if next(self._objects) > MOST_OBJECTS:
            self._full = True
            return
        attributes = {
            semconv.OBJECT_GROUP: subject.group,
            semconv.OBJECT_KIND: subject.kind,
            semconv.OBJECT_NAMESPACE: subject.namespace,
            semconv.OBJECT_NAME: subject.name,
            semconv.OBJECT_UID: subject.uid,
        }
        around = self._tracer.start_span("SCAN object", attributes=attributes, start_time=trail.began + offset)
        self._spans(trail, around, offset)
        around.end()

    def _spans(self, trail: Trail, around: Span, offset: int) -> None:
        inside: list[tuple[int, Span]] = []
        for head, body, now in watching.written_out(trail.steps):
            if isinstance(head, str):
                code, span = inside.pop()
                _end(span, code, head, str(body), now + offset)
            else:
                parent = inside[-1][1] if inside else around
                name, attributes = self._describe(head, body)
                span = self._tracer.start_span(
                    name,
                    context=trace.set_span_in_context(parent, Context()),
                    attributes=rendering.bounded_values(attributes),
                    start_time=now + offset,
                )
                inside.append((head, span))
        for _, span in reversed(inside):  # what the bound cut off
            span.end()


def _end(span: Span, code: int, found: str, detail: str, at: int) -> None:
    span.set_attribute(rendering.RESULT_KEYS[code], found)
    message = rendering.bounded(detail)
    if message:
        span.set_attribute(semconv.MESSAGE, message)
    if rendering.is_violation(code, found):
        span.add_event(semconv.EVENT_VIOLATION, {semconv.MESSAGE: message}, at)
    if found == outcome.ERROR:
        span.set_status(Status(StatusCode.ERROR, message))
    span.end(at)
