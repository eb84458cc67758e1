"""Reads the log of a finished request: which step lay in which, which call was made in which, and when.

Both who builds spans (`rendering`) and who writes them as bytes (`recordencoding`) read it here, so that they agree.
"""

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from kymograph.telemetry import recorder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AnyValue

Step: TypeAlias = tuple[int, int, int, Any, str, str, int, int]
"""A step, as (its span's id, that of the span around it, its code, its subject, its outcome, its detail, when it began,
when it ended). Not a NamedTuple: there are dozens in a request, and making one costs several times as much."""

_STRIDE = 0x9E37_79B9_7F4A_7C15
_LOW_64_BITS = (1 << 64) - 1


class Call(NamedTuple):
    """A call to another process, in nanoseconds since the epoch."""

    span_id: int
    parent_id: int
    name: str
    attributes: "Mapping[str, AnyValue]"
    error: str
    start: int
    end: int


def read(record: recorder.Recorder, ended: int, span_id: int) -> tuple[list[Step], list[Call]]:
    """Find the steps and calls of a log.

    Args:
        record: The finished recorder.
        ended: The request's end, in nanoseconds since the epoch: what was left open ends with it.
        span_id: A random id. Those of the steps follow from it, by steps of an odd number (2^64 over the golden ratio):
            no two are the same, none looks like its neighbour, and one random number is drawn a trace.

    Returns:
        Both in the order of their ends, in nanoseconds since the epoch.
    """
    steps: list[Step] = []
    calls: list[Call] = []
    open_steps: list[tuple[int, int, int, Any, int]] = []
    open_calls: dict[int, tuple[int, recorder.ClientBegin, int]] = {}
    offset = record.wall_ns - record.started_ns
    inside = record.decision.span_id  # the innermost span that is open

    for entry in record.log:
        if len(entry) == recorder.POLICY_IN_SHORT:
            policy, status, began, decided, left, results = entry
            policy_id = span_id = span_id + _STRIDE & _LOW_64_BITS or _STRIDE
            matched = decided + offset
            for rule, outcome, detail, _, start, end, _, _ in results:
                rule_id = span_id + _STRIDE & _LOW_64_BITS or _STRIDE
                span_id = rule_id + _STRIDE & _LOW_64_BITS or _STRIDE
                start, end = start + offset, end + offset  # noqa: PLW2901 - dozens in a request
                steps.append((span_id, rule_id, recorder.MATCH, rule, recorder.MATCHED, "", start, matched))
                steps.append((rule_id, policy_id, recorder.RULE, rule, outcome, detail, start, end))
                matched = end  # when the next one begins, whose match is decided already
            steps.append((policy_id, inside, recorder.POLICY, policy, status, "", began + offset, left + offset))
            continue
        if len(entry) >= recorder.RULE_IN_SHORT:
            rule, outcome, detail, began, decided, left, match, *asked = entry
            rule_id = span_id + _STRIDE & _LOW_64_BITS or _STRIDE
            span_id = rule_id + _STRIDE & _LOW_64_BITS or _STRIDE
            began, decided = began + offset, decided + offset
            steps.append((span_id, rule_id, recorder.MATCH, rule, match, "", began, decided))
            if asked:
                when, met, why = asked
                span_id = span_id + _STRIDE & _LOW_64_BITS or _STRIDE
                steps.append((span_id, rule_id, recorder.PRECONDITIONS, rule, met, why, decided, when + offset))
            steps.append((rule_id, inside, recorder.RULE, rule, outcome, detail, began, left + offset))
            continue
        head, body, now = entry
        if isinstance(head, str):
            step_id, inside, code, subject, start = open_steps.pop()
            steps.append((step_id, inside, code, subject, head, body, start, now + offset))
        elif head >= 0:
            span_id = span_id + _STRIDE & _LOW_64_BITS or _STRIDE
            open_steps.append((span_id, inside, head, body, now + offset))
            inside = span_id
        elif head == recorder.CLIENT_BEGIN:
            around = body.parent_id if body.parent_id in open_calls else inside
            open_calls[body.span_id] = around, body, now + offset
        elif (call := open_calls.pop(body.span_id, None)) is not None:
            calls.append(_ended(call, body.attributes, body.error, now + offset))

    steps += ((*begun, "", "", start, ended) for *begun, start in reversed(open_steps))
    calls += (_ended(call, {}, "", ended) for call in open_calls.values())
    return steps, calls


def _ended(
    call: tuple[int, recorder.ClientBegin, int], attributes: "Mapping[str, AnyValue]", error: str, end: int
) -> Call:
    parent_id, began, start = call
    return Call(began.span_id, parent_id, began.name, {**began.attributes, **attributes}, error, start, end)
