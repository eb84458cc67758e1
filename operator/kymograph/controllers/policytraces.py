"""The compilation of policies as traces: a root each, for nobody waits for it."""

import time
from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode, Tracer

from kymograph.controllers import policies
from kymograph.telemetry import rendering, semconv


def trace_compiling(store: policies.PolicyStore, tracer: Tracer, wall_clock: Callable[[], int] = time.time_ns) -> None:
    """Have each compilation of a policy be a span from now on.

    Args:
        store: Compiles them.
        tracer: Makes the spans.
        wall_clock: Nanoseconds since the epoch.
    """

    def compiled(held: policies.Held, seconds: float) -> None:
        key, ended = held.key, wall_clock()
        attributes: dict[str, str | int] = {
            semconv.POLICY_KIND: key.kind,
            semconv.POLICY_NAMESPACE: key.namespace,
            semconv.POLICY_NAME: key.name,
            semconv.POLICY_GENERATION: held.generation,
        }
        span = tracer.start_span(
            "ADMISSION policy compilation",
            context=Context(),
            attributes=attributes,
            start_time=ended - int(seconds * 1e9),
        )
        if held.compiled is not None:
            span.set_attribute(semconv.POLICY_RULES, len(held.document["spec"].get("rules") or ()))
        else:
            span.set_status(Status(StatusCode.ERROR, rendering.bounded("; ".join(map(str, held.problems)))))
        span.end(ended)

    store.time_compiling(compiled)
