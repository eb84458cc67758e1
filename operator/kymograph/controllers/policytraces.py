"""The compilation of policies as traces: a root each, for nobody waits for it, and the cause of what is done then."""

import collections
import itertools
import time
from collections.abc import Callable, Iterable, Sequence

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, Status, StatusCode, Tracer

from kymograph.controllers import policies
from kymograph.telemetry import rendering, semconv

MOST_RECENT = 16
"""Compilations that one write of webhook configurations is linked to; of a burst of more, the latest."""


class Compilations:
    """Traces each compilation of a policy from now on.

    Args:
        store: Compiles them.
        tracer: Makes the spans.
        wall_clock: Nanoseconds since the epoch.
    """

    def __init__(
        self, store: policies.PolicyStore, tracer: Tracer, wall_clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._tracer = tracer
        self._wall_clock = wall_clock
        self._latest: dict[policies.Key, SpanContext] = {}
        self._recent: collections.deque[SpanContext] = collections.deque(maxlen=MOST_RECENT)
        store.time_compiling(self._compiled)
        store.listen(self._changed)

    def of(self, key: policies.Key) -> SpanContext | None:
        """The span of the latest compilation of a policy; None where that was not traced."""
        return self._latest.get(key)

    def of_keys(self, keys: Iterable[str]) -> Sequence[SpanContext]:
        """Those of the policies with these keys (`Key.text`), at most `MOST_RECENT`."""
        wanted = frozenset(keys)
        found = (span for key, span in self._latest.items() if key.text in wanted)
        return tuple(itertools.islice(found, MOST_RECENT))

    def take(self) -> Sequence[SpanContext]:
        """The spans of the compilations since this was asked for the last time."""
        taken = tuple(self._recent)
        self._recent.clear()
        return taken

    def _compiled(self, held: policies.Held, seconds: float) -> None:
        key, ended = held.key, self._wall_clock()
        attributes: dict[str, str | int] = {
            semconv.POLICY_KIND: key.kind,
            semconv.POLICY_NAMESPACE: key.namespace,
            semconv.POLICY_NAME: key.name,
            semconv.POLICY_GENERATION: held.generation,
        }
        span = self._tracer.start_span(
            "ADMISSION policy compilation",
            context=Context(),
            attributes=attributes,
            start_time=ended - int(seconds * 1e9),
        )
        if held.compiled is not None:
            span.set_attribute(semconv.POLICY_GROUP, held.compiled.group)
            span.set_attribute(semconv.POLICY_VERSION, held.compiled.version)
            span.set_attribute(semconv.POLICY_RULES, len(held.document["spec"].get("rules") or ()))
        else:
            span.set_status(Status(StatusCode.ERROR, rendering.bounded("; ".join(map(str, held.problems)))))
        span.end(ended)
        self._latest.pop(key, None)
        if span.get_span_context().trace_flags.sampled:
            self._latest[key] = span.get_span_context()
            self._recent.append(span.get_span_context())

    def _changed(self, key: policies.Key, held: policies.Held | None) -> None:
        if held is None:
            self._latest.pop(key, None)
