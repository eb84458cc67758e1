"""Writes metrics in Prometheus' text format and in OpenMetrics.

The client library's encoder takes some 30 us a line, and a histogram of 15 buckets is 18 lines: a scrape of 2,000 such
series would hold the interpreter for a second, in the way of every review. Here a series' labels are written once and
its lines are put together from constant parts, a hundredth of that.

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


def write(metrics: Iterable[export.Metric], *, openmetrics: bool) -> str:
    """Write cumulative counters, histograms and gauges.

    Args:
        metrics: Metrics with distinct names. Other kinds of data are left out.
        openmetrics: For OpenMetrics, without its closing `# EOF`; else for the text format 0.0.4.
    """
    lines: list[str] = []
    for metric in metrics:
        data = metric.data
        if isinstance(data, export.Histogram):
            lines += _head(metric.name, metric.description, "histogram", openmetrics=openmetrics)
            for point in data.data_points:
                lines += _histogram(metric.name, point, openmetrics=openmetrics)
        elif isinstance(data, export.Sum) and data.is_monotonic:
            family = metric.name.removesuffix("_total")
            name = f"{family}_total"
            lines += _head(family if openmetrics else name, metric.description, "counter", openmetrics=openmetrics)
            lines += _numbers(name, data.data_points, openmetrics=openmetrics)
        elif isinstance(data, export.Gauge):
            lines += _head(metric.name, metric.description, "gauge", openmetrics=openmetrics)
            lines += _numbers(metric.name, data.data_points, openmetrics=openmetrics)
    return "".join(lines)


def _head(name: str, description: str | None, kind: str, *, openmetrics: bool) -> Iterator[str]:
    text = (description or "").translate(_ESCAPES if openmetrics else _HELP_ESCAPES)
    yield f"# HELP {name} {text}\n"
    yield f"# TYPE {name} {kind}\n"


def _numbers(name: str, points: Iterable[export.NumberDataPoint], *, openmetrics: bool) -> Iterator[str]:
    for point in points:
        exemplar = _exemplar(point.exemplars[0]) if openmetrics and point.exemplars else ""
        yield f"{name}{_braced(_labels(point.attributes))} {point.value}{exemplar}\n"


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
