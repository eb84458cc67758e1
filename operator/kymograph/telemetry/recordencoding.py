"""Writes the log of a kept request as OTLP's protobuf, without making spans of its steps first.

Nearly all spans of a review are steps, and nearly all of a step's span is the same in every trace (`templates`). So a
step is written by joining four parts: how long it is, its trace, its own ids and times, its template. The request's own
span and those of its calls, a handful, are made and written like anybody's (`rendering`, `spanencoding`); a test holds
the whole against what the SDK's encoder writes of the same request.

A Span message, with the fields in the order they are written here (protobuf leaves that to the writer)::

    12 <length>            field 2 of ScopeSpans: a span, of so many bytes
      0a 10 <16 bytes>     field 1: trace id, the same for all of a trace
      1a <length> <text>   field 3: trace state, if any, likewise
      12 08 <8 bytes>      field 2: span id
      22 08 <8 bytes>      field 4: parent's span id
      39 <8 bytes>         field 7: start, nanoseconds since the epoch, little-endian
      41 <8 bytes>         field 8: end
      ...                  the template: name, kind, attributes, events, status, flags
"""

import struct
from typing import TYPE_CHECKING

from kymograph.telemetry import nesting, rendering, spanencoding, templates, wire

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    from kymograph.telemetry.encoding import Origin
    from kymograph.telemetry.recorder import Recorder

_ids = struct.Struct(">2sQ2sQ")
_times = struct.Struct("<cQcQ")


class RecordEncoder:
    """Writes the spans of finished recorders.

    Args:
        describe: Names a step and gives its attributes.
        origin: Whose spans they are; not written here.
        ids: Where the ids of steps come from.
    """

    def __init__(self, describe: rendering.Describe, origin: "Origin", ids: "IdGenerator") -> None:
        self._renderer = rendering.Renderer(describe, origin.resource, origin.scope, ids)
        self._templates = templates.Templates(describe)
        self._spans = spanencoding.SpanEncoder()
        self._ids = ids

    def encode(self, record: "Recorder") -> list[bytes]:
        """Write a finished recorder's spans, each as `encoding.Span` says; they are those `Renderer.render` makes."""
        if record.server is None:
            return []
        server = self._renderer.server(record, record.server)
        steps, calls = nesting.read(record, server.end_time or 0, self._ids.generate_span_id())
        context = server.context
        others = [*(self._renderer.call(context, call) for call in calls), server]
        return [*self._steps(spanencoding.trace(context), steps), *map(self._spans.encode, others)]

    def _steps(self, trace: bytes, steps: list[nesting.Step]) -> list[bytes]:
        known, make = self._templates.begin(), self._templates.make
        join, pack_ids, pack_times, short, tag = b"".join, _ids.pack, _times.pack, wire.SHORT, spanencoding.SPANS
        fixed = len(trace) + _ids.size + _times.size
        written: list[bytes] = []
        for span_id, parent_id, code, subject, outcome, detail, start, end in steps:
            template = known((subject, code, outcome)) or make(subject, code, outcome)
            said, rest = template.last
            if said != detail:
                rest = template.saying(detail, end)
            size = fixed + len(rest)
            ids = pack_ids(b"\x12\x08", span_id, b"\x22\x08", parent_id)
            times = pack_times(b"\x39", start, b"\x41", end)
            length = short[size] if size < len(short) else wire.varint(size)
            written.append(join((tag, length, trace, ids, times, rest)))
        return written
