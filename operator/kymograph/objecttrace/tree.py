"""Draws spans as a tree in text: who called whom, when, for how long, and what came of it.

It draws what it is given, whole or not: a span whose parent is missing becomes a root and says so, a cycle is cut at
its earliest span, and control characters are shown, not sent to the terminal. It never looks for missing spans.
"""

import collections
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet

from kymograph.objecttrace import spans

ATTRIBUTES = frozenset(
    {
        "admission.request.operation",
        "admission.response.allowed",
        "audit-id",
        "error.type",
        "http.method",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "http.status_code",
        "kymograph.kept_by",
        "kymograph.match.result",
        "kymograph.rule.result",
        "object.name",
        "url.path",
    }
)
"""The attributes that are shown unless others are asked for."""

_MAX_VALUE = 80
_MAX_INDENT = 64

_BOLD, _DIM, _RED, _GREEN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"

_Trace = dict[str, spans.Span]
"""The spans of one trace by their ids."""


def render(
    received: Iterable[spans.Span],
    *,
    attributes: Collection[str] = ATTRIBUTES,
    events: bool = False,
    colour: bool = False,
) -> str:
    """Draws the traces that the spans belong to, in the order of their first start.

    Each line has the start in milliseconds from the trace's first span, the duration in milliseconds, the service, and
    the span in its place in the tree with its status and attributes.

    Args:
        received: Spans of any traces in any order; of two with the same ids the later one is drawn.
        attributes: The keys of the attributes to show.
        events: Whether to show the spans' events, a line each.
        colour: Whether to use ANSI colours: what `sys.stdout.isatty()` says, usually.

    Returns:
        Lines, each ended; an empty string for no spans.
    """
    traces: dict[str, _Trace] = {}
    for span in received:
        traces.setdefault(span.trace_id, {})[span.span_id] = span
    ordered = sorted(traces.values(), key=lambda trace: min(map(_order, trace.values())))
    paint = _Paint(on=colour)
    return "\n".join("".join(_lines(trace, frozenset(attributes), paint, events=events)) for trace in ordered)


class _Paint:
    """Colours text, or does not."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if self._on and text else text


def _lines(trace: _Trace, attributes: AbstractSet[str], paint: _Paint, *, events: bool) -> Iterator[str]:
    first = min(span.start for span in trace.values())
    last = max(span.end for span in trace.values())
    services = {span.service or "-" for span in trace.values()}
    width = max(len("service"), *(len(_shown(service)) for service in services))
    trace_id = next(iter(trace.values())).trace_id
    count = "1 span" if len(trace) == 1 else f"{len(trace)} spans"
    yield paint(_BOLD, f"trace {trace_id}") + f"  {count}  {_milliseconds(last - first)} ms\n"
    yield paint(_DIM, f"{'start':>9} {'duration':>9}  {'service':<{width}}  span") + "\n"
    for span, branch, below, note in _walk(trace):
        times = f"{_milliseconds(span.start - first):>9} {_milliseconds(span.end - span.start):>9}"
        service = f"{_shown(span.service or '-'):<{width}}"
        label = paint(_BOLD, _shown(span.name)) + _status(span, paint)
        shown = [f"{_shown(key)}={_shown(span.attributes[key])}" for key in sorted(attributes & span.attributes.keys())]
        parts = [label, *(paint(_DIM, text) for text in (*shown, note) if text)]
        yield f"{times}  {service}  {branch}{'  '.join(parts)}\n"
        for link in span.links:
            yield f"{'':19}  {'':<{width}}  {below}{paint(_DIM, f'linked to {link.trace_id}/{link.span_id}')}\n"
        for event in span.events if events else ():
            at = f"{_milliseconds(event.time - first):>9}"
            yield f"{at} {'':9}  {'':<{width}}  {below}{paint(_DIM, f'* {_shown(event.name)}')}\n"


def _walk(trace: _Trace) -> Iterator[tuple[spans.Span, str, str, str]]:
    """Spans from the roots down, without recursion: a chain may be as long as the sender likes.

    Yields:
        The span, the branch drawn before it, what is drawn before lines below it, and a note on its place.
    """
    children: dict[str, list[spans.Span]] = collections.defaultdict(list)
    for span in sorted(trace.values(), key=_order, reverse=True):
        children[span.parent_id if span.parent_id in trace else ""].append(span)

    drawn: set[str] = set()
    for root, root_note in _roots(trace, children[""], drawn):
        stack = [(root, 0, "", "", root_note)]
        while stack:
            span, depth, branch, indent, note = stack.pop()
            drawn.add(span.span_id)
            below = [child for child in children[span.span_id] if child.span_id not in drawn]
            yield span, branch, indent + ("│  " if below else "   "), note
            deeper = depth + 1
            for position, child in enumerate(below):  # latest first: the stack turns them round
                if deeper > _MAX_INDENT:
                    stack.append((child, deeper, branch, indent, f"(depth {deeper})"))
                elif position == 0:
                    stack.append((child, deeper, indent + "└─ ", indent + "   ", ""))
                else:
                    stack.append((child, deeper, indent + "├─ ", indent + "│  ", ""))


def _roots(trace: _Trace, tops: Iterable[spans.Span], drawn: AbstractSet[str]) -> Iterator[tuple[spans.Span, str]]:
    """Where to begin to draw: spans without a parent here, then one of each cycle, which no other root leads to.

    Args:
        trace: All spans.
        tops: Those whose parent is not among them.
        drawn: What the caller has drawn so far.

    Yields:
        A span and a note on why it has no parent.
    """
    for span in sorted(tops, key=_order):
        yield span, f"(parent {span.parent_id} is missing)" if span.parent_id else ""
    for span in sorted(trace.values(), key=_order):
        if span.span_id in drawn:
            continue
        path: dict[str, None] = {}
        step = span.span_id
        while step not in path:
            path[step] = None
            step = trace[step].parent_id
        passed = list(path)
        root = min((trace[member] for member in passed[passed.index(step) :]), key=_order)
        yield root, f"(parent {root.parent_id} is below it)"


def _order(span: spans.Span) -> tuple[int, str]:
    return span.start, span.span_id


def _status(span: spans.Span, paint: _Paint) -> str:
    message = f": {_shown(span.message)}" if span.message else ""
    match span.status:
        case "error":
            return "  " + paint(_RED, f"ERROR{message}")
        case "ok":
            return "  " + paint(_GREEN, f"OK{message}")
        case _:
            return ""


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:,.2f}"


def _shown(value: spans.Value) -> str:
    """A value on one line, cut; what is not printable is escaped, so that no span writes to the terminal itself."""
    text = value if isinstance(value, str) else ("true" if value is True else "false" if value is False else str(value))
    if len(text) > _MAX_VALUE:
        text = text[: _MAX_VALUE - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
