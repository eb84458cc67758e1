"""Writes metrics in Prometheus' text format and in OpenMetrics.

The client library's encoder takes some 30 us a line, and a histogram of 15 buckets is 18 lines: a scrape of 2,000 such
series would hold the interpreter for a second, in the way of every review. Here a series' labels are written once and
its lines are put together from constant parts, a hundredth of that. What is written is given away in pieces: with the
limits as they may be set, a scrape is larger than all that telemetry may hold.

Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://prometheus.io/docs/specs/om/open_metrics_spec/. Names must already be valid in both; what a counter is called in
OTLP gets its `_total` here. Exemplars are in OpenMetrics only, which alone has them.
"""

import bisect
from collections.abc import Iterable, Iterator, Mapping

from opentelemetry.sdk.metrics import Exemplar, export

from kymograph.telemetry import families

_OVERFLOW = 'otel_metric_overflow="true"'
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


PIECE = 1 << 15
"""Characters from which on a piece is given away: half a millisecond's work."""


def write(readings: Iterable[families.Reading], *, openmetrics: bool) -> Iterator[str]:
    """Write counters, histograms and gauges, in pieces of whole series of which each is read when it is written.

    A piece has `PIECE` characters and what more its last series has. The lines of a histogram come from one reading.

    Args:
        readings: Metrics with distinct names; of those without series nothing is written.
        openmetrics: For OpenMetrics, without its closing `# EOF`; else for the text format 0.0.4.
    """
    texts: list[str] = []
    size = 0
    for reading in readings:
        for text in _texts(reading, openmetrics=openmetrics):
            texts.append(text)
            size += len(text)
            if size >= PIECE:
                yield "".join(texts)
                texts, size = [], 0
    if texts:
        yield "".join(texts)


def _texts(reading: families.Reading, *, openmetrics: bool) -> Iterator[str]:
    """A metric's head and each of its series."""
    family = name = reading.name
    if reading.kind == "counter":
        family = name.removesuffix("_total")
        name = f"{family}_total"
    head = _head(family if openmetrics else name, reading.description, reading.kind, openmetrics=openmetrics)
    for point in reading.points:
        if isinstance(point, export.HistogramDataPoint):
            text = "".join(_histogram(name, point, openmetrics=openmetrics))
        else:
            text = _number(name, point, openmetrics=openmetrics)
        yield head + text
        head = ""


def _head(name: str, description: str, kind: str, *, openmetrics: bool) -> str:
    text = description.translate(_ESCAPES if openmetrics else _HELP_ESCAPES)
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _number(name: str, point: export.NumberDataPoint, *, openmetrics: bool) -> str:
    exemplar = _exemplar(point.exemplars[0]) if openmetrics and point.exemplars else ""
    return f"{name}{_braced(_labels(point.attributes))} {point.value}{exemplar}\n"


def _histogram(name: str, point: export.HistogramDataPoint, *, openmetrics: bool) -> Iterator[str]:
    labels = _labels(point.attributes)
    separator = "," if labels else ""
    bucket = f'{name}_bucket{{{labels}{separator}le="'
    bounds = (*map(float, point.explicit_bounds), "+Inf")
    exemplars = {}
    if openmetrics and point.exemplars:
        exemplars = {bisect.bisect_left(point.explicit_bounds, each.value): each for each in point.exemplars}
    running = 0
    for at, (bound, count) in enumerate(zip(bounds, point.bucket_counts, strict=True)):
        running += count
        exemplar = _exemplar(exemplars[at]) if at in exemplars else ""
        yield f'{bucket}{bound}"}} {running}{exemplar}\n'
    yield f"{name}_count{_braced(labels)} {point.count}\n"
    yield f"{name}_sum{_braced(labels)} {float(point.sum)}\n"


def _exemplar(exemplar: Exemplar) -> str:
    ids = f'trace_id="{exemplar.trace_id or 0:032x}",span_id="{exemplar.span_id or 0:016x}"'
    return f" # {{{ids}}} {float(exemplar.value)} {exemplar.time_unix_nano / 1e9:.3f}"


def _labels(attributes: Mapping[str, object] | None) -> str:
    if attributes is families.OVERFLOW:
        return _OVERFLOW
    return ",".join(f'{key}="{_escaped(str(value))}"' for key, value in (attributes or {}).items())


def _escaped(value: str) -> str:
    return value if value.isidentifier() else value.translate(_ESCAPES)


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
