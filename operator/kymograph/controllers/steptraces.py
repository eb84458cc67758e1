"""The steps of an evaluation as spans of the SDK, for work that no review waits for.

They are noted as they are for a review, and become spans once it is known that somebody wants them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from kymograph.engine import watching
from kymograph.engine.policy import CompiledRule
from kymograph.engine.rules import outcome
from kymograph.telemetry import rendering, semconv

MOST_STEPS = 8_192
"""Steps noted of one evaluation; a policy may loop over as many elements as its budget allows."""

Describe: TypeAlias = Callable[[int, object], tuple[str, Mapping[str, Any]]]
"""Names a step of an evaluation and gives its attributes; the same as for reviews."""

_POLICY, _RULE = watching.Step.POLICY, watching.Step.RULE


class Trail:
    """What was noted of one evaluation: a `watching.Watcher`.

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


class StepTraces:
    """Makes spans of what was noted.

    Args:
        tracer: That of the controller.
        describe: Names steps.
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

    def trail(self) -> Trail | None:
        """Where the steps of the next evaluation are to be noted; None where nobody would look at them."""
        return Trail(self._clock()) if trace.get_current_span().is_recording() else None

    def offset(self) -> int:
        """Nanoseconds from the clock of evaluations to that on the wall, as of now.

        A thread may have to wait between two looks. What was noted then seems later than it was, but never earlier than
        a span that was open, nor later than now.
        """
        now = self._clock()
        return self._wall_clock() - now

    def tell(self, trail: Trail, around: Span, rule: CompiledRule | None = None, offset: int | None = None) -> None:
        """Make spans of what was noted, below another.

        Args:
            trail: What was noted.
            around: The span.
            rule: The rule that `around` is about, and its policy's span is above that: of it only the steps are told,
                and of other rules that were evaluated with it nothing; None to tell everything.
            offset: What `offset` gave, where the start of `around` was told by it; None where the SDK looked.
        """
        offset = self.offset() if offset is None else offset
        inside: list[tuple[int, Span | None]] = []
        for head, body, now in watching.written_out(trail.steps):
            if isinstance(head, str):
                code, span = inside.pop()
                if span is not None and span is not around:
                    _end(span, code, head, str(body), now + offset)
                continue
            parent = inside[-1][1] if inside else around
            if rule is not None and head == _POLICY:
                inside.append((head, around))
            elif parent is None or (rule is not None and head == _RULE and body is not rule):
                inside.append((head, None))
            elif rule is not None and head == _RULE:
                inside.append((head, around))
            else:
                inside.append((head, self._begun(parent, head, body, now + offset)))
        for _, span in reversed(inside):  # what the bound cut off
            if span is not None and span is not around:
                span.end()

    def _begun(self, parent: Span, step: int, subject: object, at: int) -> Span:
        name, attributes = self._describe(step, subject)
        return self._tracer.start_span(
            name,
            context=trace.set_span_in_context(parent, Context()),
            attributes=rendering.bounded_values(attributes),
            start_time=at,
        )


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
