"""Base-2 exponential histograms: every duration to 9 percent, in buckets that nobody has to choose.

OpenTelemetry lets the scale be found at run time, so that a histogram of 160 buckets fits whatever is observed. What is
observed here is known: durations, from a microsecond to a day. So the scale is fixed, which makes a recording one
logarithm and one addition, a merge an addition, and a difference between two readings a subtraction, without ever
moving counts between buckets.

Data model: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram. Kept beside the explicit
buckets, and only where a receiver is to have it.
"""

import math
from collections.abc import Mapping
from typing import Self

from opentelemetry.sdk.metrics import Exemplar

from kymograph.telemetry import exponentialpoints, temporality

_PER_DOUBLING = float(1 << exponentialpoints.SCALE)
_NONE = exponentialpoints.ZERO_THRESHOLD
_HIGHEST = exponentialpoints.HIGHEST
_ceil, _log2 = math.ceil, math.log2


class Exponential(temporality.Source):
    """What one series observed since `start` (nanoseconds since the epoch)."""

    __slots__ = ("counts", "start", "sum", "zeros")

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start
        self.counts: dict[int, int] = {}
        self.sum = 0.0
        self.zeros = 0

    def record(self, value: float) -> None:
        """Observe a value; a bucket's upper bound belongs to it, its lower bound does not."""
        self.sum += value
        if value <= _NONE:
            self.zeros += 1
            return
        at = _ceil(_log2(value) * _PER_DOUBLING) - 1
        if at > _HIGHEST:  # noqa: PLR1730 - hot path: a call of min costs more
            at = _HIGHEST
        counts = self.counts
        counts[at] = counts.get(at, 0) + 1

    def absorb(self, part: Self) -> None:
        """Take in what another series observed. The caller holds `temporality.Source.settling`."""
        self.start = min(self.start, part.start)
        for at, count in part.counts.items():
            self.counts[at] = self.counts.get(at, 0) + count
        self.sum += part.sum
        self.zeros += part.zeros
        self.succeed(part)

    def point(
        self, attributes: Mapping[str, str | bool], now: int, exemplars: list[Exemplar]
    ) -> exponentialpoints.CellExponential:
        """Read it; correct from any thread."""
        total, zeros, counts = self.sum, self.zeros, self.counts.copy()
        return exponentialpoints.CellExponential(
            attributes=attributes,
            start_time_unix_nano=self.start,
            time_unix_nano=now,
            count=zeros + sum(counts.values()),
            sum=total,
            scale=exponentialpoints.SCALE,
            zero_count=zeros,
            positive=exponentialpoints.buckets(counts),
            negative=exponentialpoints.NO_BUCKETS,
            flags=0,
            min=0.0,
            max=0.0,
            exemplars=exemplars,
            source=self,
        )
