"""Scans as traces: a span for a kind, one for each batch of its objects, and below it what policies said of an object.

An object has spans of its own only if its trace is kept and it is news: ten thousand objects that are as they were
make no trace of half a million spans.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from kymograph.clients.kubernetes import resources
from kymograph.controllers import steptraces
from kymograph.controllers.reports import findings
from kymograph.telemetry import roots, semconv

MOST_BATCHES = 100
"""Spans of batches in the trace of one scan; the trace of a scan of more objects does not grow further."""

MOST_OBJECTS = 200
"""Objects with spans of their own in the trace of one scan: some ten thousand spans with 17 policies."""


class Traces:
    """Makes the spans of scans.

    Args:
        tracer: That of the reports controller.
        describe: Names the steps of an evaluation.
        clock: Monotonic nanoseconds, the clock of evaluations.
        wall_clock: Nanoseconds since the epoch.
        compilations: Gives the spans of the compilations of policies, by their keys.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        describe: steptraces.Describe,
        clock: Callable[[], int],
        wall_clock: Callable[[], int],
        compilations: Callable[[Sequence[str]], Iterable[trace.SpanContext]] = lambda _: (),
    ) -> None:
        self._tracer = tracer
        self._compilations = compilations
        self._steps = steptraces.StepTraces(tracer, describe, clock, wall_clock)
        self._batches, self._objects = itertools.count(1), itertools.count(1)
        self._full = False

    def discovery(self) -> contextlib.AbstractContextManager[Span]:
        """What the API server serves, asked for before scans: a root."""
        return roots.root(self._tracer, "SCAN discovery")

    @contextlib.contextmanager
    def scan(self, resource: resources.Resource, policies: Sequence[str]) -> Iterator[Span]:
        """The scan of a resource for some policies: a root, linked to the compilations of these."""
        self._batches, self._objects, self._full = itertools.count(1), itertools.count(1), False
        attributes = {
            semconv.OBJECT_GROUP: resource.group,
            semconv.OBJECT_VERSION: resource.version,
            semconv.OBJECT_RESOURCE: resource.plural,
            semconv.OBJECT_KIND: resource.kind,
            semconv.SCAN_POLICIES: tuple(policies),
        }
        links = [trace.Link(each) for each in self._compilations(policies)]
        with self._tracer.start_as_current_span(
            f"SCAN {resource.kind}", context=Context(), attributes=attributes, links=links
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

    def trail(self, *, alone: bool) -> steptraces.Trail | None:
        """Where the steps of the next evaluation are to be noted; None where nobody would look at them.

        Args:
            alone: The current span is the object's already (`changed`).
        """
        return None if self._full and not alone else self._steps.trail()

    def tell(self, trail: steptraces.Trail, subject: findings.Subject, *, alone: bool) -> None:
        """Make spans of what was noted.

        Args:
            trail: What was noted.
            subject: The object.
            alone: The current span is the object's already (`changed`).
        """
        if alone:
            self._steps.tell(trail, trace.get_current_span())
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
        offset = self._steps.offset()
        around = self._tracer.start_span("SCAN object", attributes=attributes, start_time=trail.began + offset)
        self._steps.tell(trail, around, offset=offset)
        around.end()
