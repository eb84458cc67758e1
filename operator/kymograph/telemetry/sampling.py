"""Which requests are traced: one decision per request, made at its start from the settings and the caller's headers.

The rate is a threshold on the trace id's low 64 bits, as in OpenTelemetry's SDKs, so every component that samples the
same trace at the same rate decides alike. Nothing here looks at what a request turns out to do: that is for the keep
rules, at its end.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import trace
from opentelemetry.sdk.trace import sampling

from kymograph.telemetry import samplingrules, semconv, settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.util.types import Attributes

    from kymograph.telemetry import capping
    from kymograph.telemetry.propagation import RemoteParent

_LOW_64_BITS = (1 << 64) - 1


class Decision(NamedTuple):
    """What was decided for one request. A NamedTuple, because every request has one: it takes a third to make.

    Attributes:
        trace_id: The trace that the request belongs to, traced or not.
        span_id: The id that those we call, and those we answer, see as their parent: our server span's, or, where
            nothing is exported at all, the caller's own, so that its trace stays whole without us.
        sampled: The flag that those we call are told.
        recorded: Our spans are made and sent.
        tentative: What happens is recorded, because a rule may still keep our spans at the request's end.
        parent: The caller whose trace this request continues.
        link: The caller of which this request's own trace is a consequence.
    """

    trace_id: int
    span_id: int
    sampled: bool
    recorded: bool
    tentative: bool = False
    parent: "RemoteParent | None" = None
    link: "RemoteParent | None" = None

    @property
    def parent_span_id(self) -> int | None:
        """The id of the caller's span, or None for a root."""
        return self.parent.span_id if self.parent is not None else None

    @property
    def tracestate(self) -> str:
        """The caller's `tracestate`, to be passed on within its trace."""
        return self.parent.tracestate if self.parent is not None else ""


def decide(
    traces: settings.TraceSettings | None,
    parent: "RemoteParent | None",
    ids: "IdGenerator",
    cap: "capping.Cap | None" = None,
    now_ns: int = 0,
    namespace: str = "",
) -> Decision:
    """Decide for one request.

    Args:
        traces: The settings in force, or None when nothing is exported.
        parent: Who called, if the request said so.
        ids: Where new ids come from.
        cap: Limits the traces that callers can force; None does not.
        now_ns: The moment, on the cap's clock.
        namespace: The namespace of the request's object, or an empty string.

    Returns:
        A parent that is respected is followed in both directions (as OpenTelemetry's ParentBased does); a request
        without one is sampled at the configured rate, or at that of the first sampling rule that fits. What is not
        sampled is still recorded where a keep rule may keep it, or a sampling rule about policies may fit.
    """
    if traces is None:
        if parent is not None:
            return Decision(parent.trace_id, parent.span_id, parent.sampled, recorded=False, parent=parent)
        return Decision(ids.generate_trace_id(), ids.generate_span_id(), sampled=False, recorded=False)
    if parent is not None and traces.parent is settings.ParentPolicy.RESPECT:
        sampled = parent.sampled and (cap is None or cap.admits(now_ns))
        tentative = not sampled and bool(traces.keep)
        return Decision(parent.trace_id, ids.generate_span_id(), sampled, sampled, tentative, parent)
    trace_id = ids.generate_trace_id()
    link = parent if traces.parent is settings.ParentPolicy.LINK else None
    if traces.sampling_rules:
        least, greatest = samplingrules.rates(traces.sampling_rules, namespace, traces.sampling_rate_per_million)
        sampled = is_within_rate(trace_id, least)
        tentative = not sampled and (bool(traces.keep) or is_within_rate(trace_id, greatest))
    else:
        sampled = is_within_rate(trace_id, traces.sampling_rate_per_million)
        tentative = not sampled and bool(traces.keep)
    return Decision(trace_id, ids.generate_span_id(), sampled, sampled, tentative, link=link)


def is_sampled_after_all(
    traces: settings.TraceSettings, decision: Decision, namespace: str, policies: Callable[[], Iterable[str]]
) -> bool:
    """Whether a sampling rule makes the trace of a request that was not sampled, now that its policies are known.

    Args:
        traces: The settings in force.
        decision: What was decided at the request's start; one that follows a parent is not changed.
        namespace: The namespace of the request's object, or an empty string.
        policies: Names the policies that were applied; asked only where a rule wants to know.
    """
    rules, common = traces.sampling_rules, traces.sampling_rate_per_million
    if not rules or decision.parent is not None:
        return False
    _, greatest = samplingrules.rates(rules, namespace, common)
    if not is_within_rate(decision.trace_id, greatest):
        return False
    return is_within_rate(decision.trace_id, samplingrules.rate(rules, namespace, tuple(policies()), common))


def is_within_rate(trace_id: int, rate_per_million: int) -> bool:
    """Tell whether a trace id falls among the given number in a million."""
    return (trace_id & _LOW_64_BITS) * settings.MILLION < rate_per_million << 64


def _rate_of_root(traces: settings.TraceSettings, attributes: "Attributes") -> int:
    """The rate of a root outside of requests, by what it says at its start of its object and its policy."""
    common = traces.sampling_rate_per_million
    if not traces.sampling_rules:
        return common
    said = attributes or {}
    policy, within = str(said.get(semconv.POLICY_NAME) or ""), str(said.get(semconv.POLICY_NAMESPACE) or "")
    namespace = str(said.get(semconv.OBJECT_NAMESPACE) or within)
    policies = (f"{within}/{policy}" if within else policy,) if policy else ()
    return samplingrules.rate(traces.sampling_rules, namespace, policies, common)


class LiveSampler(sampling.Sampler):
    """The sampler of the shared TracerProvider's tracers: decides by the settings in force when a span starts.

    Args:
        current: Gives the settings in force for who makes the spans, or None when it makes none.
    """

    def __init__(self, current: Callable[[], settings.TraceSettings | None]) -> None:
        self._current = current

    def should_sample(
        self,
        parent_context: "Context | None",
        trace_id: int,
        name: str,  # noqa: ARG002 - the SDK's signature
        kind: trace.SpanKind | None = None,  # noqa: ARG002 - the SDK's signature
        attributes: "Attributes" = None,
        links: Sequence[trace.Link] | None = None,  # noqa: ARG002 - the SDK's signature
        trace_state: trace.TraceState | None = None,  # noqa: ARG002 - the SDK's signature
    ) -> sampling.SamplingResult:
        """Follow the parent span, or apply the rate to a root; see the SDK's `Sampler`.

        What a keep rule may still keep is recorded and not sampled (`undecided`).
        """
        traces = self._current()
        around = trace.get_current_span(parent_context)
        parent = around.get_span_context()
        if traces is None:
            sampled = recorded = False
        elif parent.is_valid:
            sampled, recorded = parent.trace_flags.sampled, around.is_recording()
        else:
            sampled = is_within_rate(trace_id, _rate_of_root(traces, attributes))
            recorded = traces.keep.judges_work
        if sampled:
            return sampling.SamplingResult(sampling.Decision.RECORD_AND_SAMPLE, attributes, parent.trace_state)
        if recorded:
            return sampling.SamplingResult(sampling.Decision.RECORD_ONLY, attributes, parent.trace_state)
        return sampling.SamplingResult(sampling.Decision.DROP, None, parent.trace_state)

    def get_description(self) -> str:
        """Name the sampler, as the SDK asks."""
        return "LiveSampler"
