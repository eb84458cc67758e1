"""What a receiver was told already, so that a push can say what came since: delta temporality.

Told is what a receiver took, not what was sent: what was not delivered is a part of the next difference. It is kept
with the series and survives exporters, so another endpoint continues where the one before ended, and a change from
cumulative numbers to differences repeats nothing. Series that are put together bring what was told of each.
"""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Self, TypeVar

from opentelemetry.sdk.metrics import export

from kymograph.telemetry import exponentialpoints

_DELTA = export.AggregationTemporality.DELTA


class Told(NamedTuple):
    """The numbers of a series that were delivered last, and when they were read (nanoseconds since the epoch)."""

    time: int
    numbers: tuple[float, ...]

    def with_more(self, gain: "Told") -> "Told":
        """Both together."""
        return Told(max(self.time, gain.time), tuple(map(sum, zip(self.numbers, gain.numbers, strict=True))))


class Source:
    """A series whose points are pushed.

    Attributes:
        settling: Held while it is written down what was told, and while series are put together.
        told: What was delivered of it; None for nothing.
        successor: The series that it is a part of now.
    """

    __slots__ = ("successor", "told")

    settling: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self.told: Told | None = None
        self.successor: Self | None = None

    def succeed(self, part: Self) -> None:
        """Take over what was told of a part. The caller holds `settling`."""
        part.successor = self
        if part.told is not None:
            self.told = part.told if self.told is None else self.told.with_more(part.told)

    def settle(self, told: Told) -> None:
        """Write down what was delivered, with the series that it became meanwhile. The caller holds `settling`."""
        if self.successor is None:
            self.told = told
            return
        gain = Told(told.time, _since(told.numbers, self.told))
        heir = self.successor
        while heir.successor is not None:
            heir = heir.successor
        heir.told = gain if heir.told is None else heir.told.with_more(gain)


@dataclasses.dataclass(frozen=True)
class CellNumber(export.NumberDataPoint):
    """The point of a series that remembers what was told of it."""

    source: Source | None = dataclasses.field(default=None, compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class CellHistogram(export.HistogramDataPoint):
    """The same for a histogram."""

    source: Source | None = dataclasses.field(default=None, compare=False, repr=False)


_Point = export.NumberDataPoint | export.HistogramDataPoint | export.ExponentialHistogramDataPoint
_PointT = TypeVar("_PointT", export.NumberDataPoint, export.HistogramDataPoint, export.ExponentialHistogramDataPoint)


class Ledger:
    """What was told of all series: of ours in themselves, of the SDK's in here. Used by one thread at a time."""

    def __init__(self) -> None:
        self._told: dict[tuple[object, ...], Told] = {}

    def since(self, metric: export.Metric) -> export.Metric | None:
        """What of a cumulative metric was not told yet; None for nothing. What does not add up stays as it is."""
        data = metric.data
        changed: export.Sum | export.Histogram | export.ExponentialHistogram
        if isinstance(data, export.Sum) and data.is_monotonic:
            changed = export.Sum(self._news(metric.name, data.data_points, _number_with), _DELTA, is_monotonic=True)
        elif isinstance(data, export.Histogram):
            changed = export.Histogram(self._news(metric.name, data.data_points, _histogram_with), _DELTA)
        elif isinstance(data, export.ExponentialHistogram):
            points = self._news(metric.name, data.data_points, exponentialpoints.with_numbers)
            changed = export.ExponentialHistogram(points, _DELTA)
        else:
            return metric
        return dataclasses.replace(metric, data=changed) if changed.data_points else None

    def settle(self, metric: export.Metric) -> None:
        """A receiver took this reading of a cumulative metric, or what came since the one before."""
        data = metric.data
        if isinstance(data, export.Gauge) or (isinstance(data, export.Sum) and not data.is_monotonic):
            return
        with Source.settling:
            for point in data.data_points:
                told = Told(point.time_unix_nano, _numbers(point))
                if (source := _source(point)) is not None:
                    source.settle(told)
                else:
                    self._told[_key(metric.name, point)] = told

    def _news(
        self,
        name: str,
        points: Sequence[_PointT],
        with_numbers: Callable[[_PointT, int, tuple[float, ...]], _PointT],
    ) -> list[_PointT]:
        found = []
        for point in points:
            source = _source(point)
            told = self._told.get(_key(name, point)) if source is None else source.told
            numbers = _since(_numbers(point), told)
            if any(numbers):
                start = point.start_time_unix_nano if told is None else max(told.time, point.start_time_unix_nano)
                found.append(with_numbers(point, start, numbers))
        return found


def _since(numbers: tuple[float, ...], told: Told | None) -> tuple[float, ...]:
    if told is None:
        return numbers
    return tuple(now - before for now, before in zip(numbers, told.numbers, strict=True))


def _numbers(point: _Point) -> tuple[float, ...]:
    if isinstance(point, export.HistogramDataPoint):
        return (*point.bucket_counts, point.sum)
    if isinstance(point, export.ExponentialHistogramDataPoint):
        return exponentialpoints.numbers(point)
    return (point.value,)


def _number_with(point: export.NumberDataPoint, start: int, numbers: tuple[float, ...]) -> export.NumberDataPoint:
    return dataclasses.replace(point, start_time_unix_nano=start, value=numbers[0])


def _histogram_with(
    point: export.HistogramDataPoint, start: int, numbers: tuple[float, ...]
) -> export.HistogramDataPoint:
    counts = [int(count) for count in numbers[:-1]]
    return dataclasses.replace(
        point, start_time_unix_nano=start, bucket_counts=counts, count=sum(counts), sum=numbers[-1]
    )


def _source(point: _Point) -> Source | None:
    return point.source if isinstance(point, CellNumber | CellHistogram | exponentialpoints.CellExponential) else None


def _key(name: str, point: _Point) -> tuple[object, ...]:
    return (name, *sorted((point.attributes or {}).items()))
