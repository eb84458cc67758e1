"""Golden trees: the spans of one piece of work as indented text, compared with a file beside the test.

`KYMOGRAPH_WRITE_TREES=1 pytest ...` writes the files anew. Ids and times are left out, so that what stays is what a
reader of a trace sees: which spans there are, below which, and what they say.
"""

import os
import pathlib
import textwrap
from collections.abc import Collection, Iterable, Iterator

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from kymograph.objecttrace import spans as wire

WRITE = "KYMOGRAPH_WRITE_TREES"


def compare(file: pathlib.Path, spans: Iterable[ReadableSpan], volatile: Collection[str] = ()) -> None:
    """Compare spans with a golden tree.

    Args:
        file: The tree, `*.tree`.
        spans: Finished spans, in any order.
        volatile: Attributes whose values differ from run to run.
    """
    drawn = render(spans, volatile)
    agree(file, drawn)
    assert drawn == file.read_text(), f"{file.name} says otherwise; {WRITE}=1 writes it anew"


def render(spans: Iterable[ReadableSpan], volatile: Collection[str] = ()) -> str:
    """The spans of some traces as text: two spaces a level, attributes by name, then events and links."""
    ordered = sorted(spans, key=lambda span: span.start_time or 0)
    known = {span.context.span_id: span.name for span in ordered}
    children: dict[int, list[ReadableSpan]] = {}
    for span in ordered:
        parent = span.parent.span_id if span.parent is not None else 0
        children.setdefault(parent if parent in known else 0, []).append(span)

    def walk(parent: int, depth: int) -> Iterator[str]:
        for span in children.get(parent, ()):
            yield from _lines(span, "  " * depth, known, volatile)
            yield from walk(span.context.span_id, depth + 1)

    return "".join(f"{line}\n" for line in walk(0, 0))


def _lines(span: ReadableSpan, indent: str, known: dict[int, str], volatile: Collection[str]) -> Iterator[str]:
    kind = "" if span.kind is SpanKind.INTERNAL else f" ({span.kind.name.lower()})"
    caller = " < caller" if span.parent is not None and span.parent.span_id not in known else ""
    failed = span.status.status_code is StatusCode.ERROR
    why = f": {span.status.description}" if span.status.description else ""
    yield f"{indent}{span.name}{kind}{caller}" + (f" ERROR{why}" if failed else "")
    for key, value in sorted((span.attributes or {}).items()):
        yield f"{indent}    {key}={'*' if key in volatile else _shown(value)}"
    for event in span.events:
        yield f"{indent}    event {event.name}"
    for link in span.links:
        yield f"{indent}    linked to {known.get(link.context.span_id, 'another trace')}"


def _shown(value: object) -> str:
    return ascii(value) if isinstance(value, str) and not (value and value.isprintable()) else str(value)


def below(spans: Iterable[ReadableSpan], name: str) -> list[ReadableSpan]:
    """The spans of the traces whose root has a name that begins so."""
    every = list(spans)
    traces = {span.context.trace_id for span in every if span.parent is None and span.name.startswith(name)}
    return [span for span in every if span.context.trace_id in traces]


def outline(spans: Collection[wire.Span], root: wire.Span) -> str:
    """What came over the wire below a span as text: names, kinds, which attributes there are, events and links.

    Their values are another day's, and how often a step is tried is the machine's affair: of children that are drawn
    alike there is one, and they stand in the order of the alphabet.
    """
    children: dict[str, list[wire.Span]] = {}
    for span in spans:
        children.setdefault(span.parent_id, []).append(span)

    def drawn(span: wire.Span, indent: str) -> str:
        kind = "" if span.kind == "internal" else f" ({span.kind})"
        lines = [f"{indent}{span.name}{kind}{' ERROR' if span.status == 'error' else ''}"]
        lines += textwrap.wrap(
            " ".join(sorted(span.attributes)), 110, initial_indent=f"{indent}    ", subsequent_indent=f"{indent}    "
        )
        lines += [f"{indent}    event {name}" for name in sorted({event.name for event in span.events})]
        lines += [f"{indent}    linked to another trace"] if span.links else []
        below = sorted({drawn(each, f"{indent}  ") for each in children.get(span.span_id, ())})
        return "".join([*(f"{line}\n" for line in lines), *below])

    return drawn(root, "")


def agree(file: pathlib.Path, drawn: str) -> bool:
    """Whether a text is that of a golden tree; writes the file anew where that is asked for."""
    if os.environ.get(WRITE):
        file.write_text(drawn)
    return drawn == file.read_text()
