"""Metric cells: the counters and histograms of the hot path.

An SDK counter and histogram with 13 labels cost more than a whole review; a bound cell costs an addition. Cells are
turned into the SDK's public data points when a reader collects, and added to what the SDK's own instruments gave, so
every exporter sees one set of metrics and none of them owns the values: exporters come and go without a reset.

Counters take this way too, not the one of observable counters: a policy's counter and histogram then come from the
same moment with the same start time, and whatever decides which series are shown has one place to do it.

A cell is written by one thread (the event loop's) and read by any: a reader may see a histogram's buckets one
observation ahead of its sum, never torn or going back.
"""

import abc
import bisect
import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import errors

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
"""Upper bounds in seconds, those of Kyverno's histograms, so that its dashboards work unchanged."""


class CounterCell:
    """One series of a counter."""

    __slots__ = ("labels", "value")

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.value = 0

    def add(self, amount: int = 1) -> None:
        """Count."""
        self.value += amount


class HistogramCell:
    """One series of a histogram."""

    __slots__ = ("bounds", "counts", "labels", "sum")

    def __init__(self, labels: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        self.labels = labels
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def record(self, value: float) -> None:
        """Observe a value; a bucket's upper bound belongs to it."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """What an instrument is.

    Attributes:
        name: The metric's name, without a prefix.
        description: The HELP text.
        unit: A UCUM code, or an annotation such as `{request}`.
        labels: The names of its labels, in the order of the values that `bind` takes.
    """

    name: str
    description: str
    unit: str
    labels: tuple[str, ...]


CellT = TypeVar("CellT", CounterCell, HistogramCell)


class _Instrument(abc.ABC, Generic[CellT]):
    """All series of a metric.

    Args:
        about: What the instrument is.
        start: Nanoseconds since the epoch at which its series begin at zero.
    """

    def __init__(self, about: Description, start: int) -> None:
        self.about = about
        self._start = start
        self._cells: dict[tuple[str, ...], CellT] = {}

    def bind(self, values: tuple[str, ...]) -> CellT:
        """Find or make the cell of these label values.

        Raises:
            InstrumentInvalid: There are more or fewer values than labels.
        """
        cell = self._cells.get(values)
        if cell is None:
            if len(values) != len(self.about.labels):
                raise errors.InstrumentInvalid(f"{self.about.name} has {len(self.about.labels)} labels, not {values}")
            cell = self._cells[tuple(values)] = self._make(tuple(values))
        return cell

    def collect(self, now: int) -> export.Metric | None:
        """Read all cells into a metric of data points; None while there are no cells. `now` is since the epoch."""
        cells = list(self._cells.values())
        if not cells:
            return None
        return export.Metric(self.about.name, self.about.description, self.about.unit, self._data(cells, now))

    @abc.abstractmethod
    def _make(self, values: tuple[str, ...]) -> CellT: ...

    @abc.abstractmethod
    def _data(self, cells: list[CellT], now: int) -> export.Sum | export.Histogram: ...

    def _attributes(self, cell: CellT) -> dict[str, str]:
        return dict(zip(self.about.labels, cell.labels, strict=True))


class Counter(_Instrument[CounterCell]):
    """A monotonic sum, by label values."""

    def _make(self, values: tuple[str, ...]) -> CounterCell:
        return CounterCell(values)

    def _data(self, cells: list[CounterCell], now: int) -> export.Sum:
        points = [export.NumberDataPoint(self._attributes(cell), self._start, now, cell.value) for cell in cells]
        return export.Sum(points, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)


class Histogram(_Instrument[HistogramCell]):
    """A distribution over explicit buckets, by label values."""

    def __init__(self, about: Description, start: int, bounds: tuple[float, ...]) -> None:
        super().__init__(about, start)
        self._bounds = bounds

    def _make(self, values: tuple[str, ...]) -> HistogramCell:
        return HistogramCell(values, self._bounds)

    def _data(self, cells: list[HistogramCell], now: int) -> export.Histogram:
        return export.Histogram(
            [self._point(cell, now) for cell in cells],
            export.AggregationTemporality.CUMULATIVE,
        )

    def _point(self, cell: HistogramCell, now: int) -> export.HistogramDataPoint:
        total, counts = cell.sum, cell.counts.copy()
        return export.HistogramDataPoint(
            attributes=self._attributes(cell),
            start_time_unix_nano=self._start,
            time_unix_nano=now,
            count=sum(counts),
            sum=total,
            bucket_counts=counts,
            explicit_bounds=self._bounds,
            min=None,  # type: ignore[arg-type] # not kept; optional in OTLP, whose encoder leaves None out
            max=None,  # type: ignore[arg-type] # the same
        )


InstrumentT = TypeVar("InstrumentT", Counter, Histogram)


class Cells:
    """All instruments made of cells. One per process.

    Args:
        scope: The instrumentation scope they belong to.
        wall_clock: Nanoseconds since the epoch.
    """

    def __init__(self, scope: InstrumentationScope, wall_clock: Callable[[], int]) -> None:
        self._scope = scope
        self._wall_clock = wall_clock
        self._instruments: dict[str, Counter | Histogram] = {}

    def counter(self, about: Description) -> Counter:
        """Declare a counter.

        Raises:
            InstrumentInvalid: The name is taken.
        """
        return self._declare(Counter(about, self._wall_clock()))

    def histogram(self, about: Description, bounds: tuple[float, ...] = LATENCY_BUCKETS) -> Histogram:
        """Declare a histogram; `bounds` are ascending upper bounds, without infinity.

        Raises:
            InstrumentInvalid: The name is taken.
        """
        return self._declare(Histogram(about, self._wall_clock(), bounds))

    def read(self) -> list[export.Metric]:
        """Read all cells into data points. Correct from any thread, while cells are written."""
        now = self._wall_clock()
        read = (instrument.collect(now) for instrument in list(self._instruments.values()))
        return [metric for metric in read if metric is not None]

    def added_to(self, collected: export.MetricsData) -> export.MetricsData:
        """Add a reading of all cells to what the SDK's own instruments gave a reader."""
        metrics = self.read()
        if not metrics:
            return collected
        first, *others = collected.resource_metrics
        ours = export.ScopeMetrics(self._scope, metrics, self._scope.schema_url or "")
        return export.MetricsData(
            [dataclasses.replace(first, scope_metrics=[*first.scope_metrics, ours]), *others],
        )

    def _declare(self, instrument: InstrumentT) -> InstrumentT:
        name = instrument.about.name
        if name in self._instruments:
            raise errors.InstrumentInvalid(f"{name} is declared twice")
        self._instruments[name] = instrument
        return instrument
