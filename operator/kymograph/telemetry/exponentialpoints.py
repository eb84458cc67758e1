"""Readings of exponential histograms, all of one scale: see `exponential`."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import export

if TYPE_CHECKING:
    from kymograph.telemetry import temporality

SCALE = 3
"""Eight buckets for each doubling: the upper bound of a bucket is 2 ** (1/8) of its lower one."""

LOWEST, HIGHEST = -20 << SCALE, (17 << SCALE) - 1
"""The first and the last bucket: above 2 ** -20 seconds, a microsecond, up to 2 ** 17, a day and a half."""

ZERO_THRESHOLD = 2.0**-20
"""Seconds up to which a duration is counted as none."""

NO_BUCKETS = export.Buckets(0, [])


@dataclasses.dataclass(frozen=True)
class CellExponential(export.ExponentialHistogramDataPoint):
    """A point that remembers what was told of its series (`temporality`); its least and largest value are not kept."""

    source: "temporality.Source | None" = dataclasses.field(default=None, compare=False, repr=False)


def numbers(point: export.ExponentialHistogramDataPoint) -> tuple[float, ...]:
    """All its numbers, in places that are the same for each reading of our scale."""
    offset, counts = point.positive.offset, point.positive.bucket_counts
    before = offset - LOWEST if counts else 0
    after = HIGHEST - LOWEST + 1 - before - len(counts)
    return (point.zero_count, *(0,) * before, *counts, *(0,) * after, point.sum)


def with_numbers(
    point: export.ExponentialHistogramDataPoint, start: int, changed: tuple[float, ...]
) -> export.ExponentialHistogramDataPoint:
    """The point with other numbers, which count from `start`; see `numbers`."""
    zeros, *dense, total = changed
    counts = {LOWEST + at: int(count) for at, count in enumerate(dense) if count}
    return dataclasses.replace(
        point,
        start_time_unix_nano=start,
        zero_count=int(zeros),
        positive=buckets(counts),
        count=int(zeros) + sum(counts.values()),
        sum=total,
    )


def buckets(counts: Mapping[int, int]) -> export.Buckets:
    """Counts by bucket, with nothing left out between the first and the last."""
    if not counts:
        return NO_BUCKETS
    lowest, highest = min(counts), max(counts)
    return export.Buckets(lowest, [counts.get(at, 0) for at in range(lowest, highest + 1)])
