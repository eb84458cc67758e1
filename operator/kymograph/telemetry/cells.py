"""Metric cells: the counters and histograms of the hot path.

An SDK counter and histogram with 13 labels cost more than a whole review; a bound cell costs an addition. Cells are
turned into the SDK's public data points when a reader collects, and added to what the SDK's own instruments gave, so
every exporter sees one set of metrics and none of them owns the values: exporters come and go without a reset.

Counters take this way too, not the one of observable counters: a policy's counter and histogram then come from the
same moment with the same start time, and whatever decides which series are shown has one place to do it.

A cell is written by one thread (the event loop's) and read by any: a reader may see a histogram's buckets one
observation ahead of its sum, never torn or going back. How cells make up a metric is told in `series`.
"""

import bisect
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Self, TypeVar

from opentelemetry.sdk.metrics import Exemplar, export
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kymograph.telemetry import (
    errors,
    exponential,
    exponentialpoints,
    families,
    memory,
    metricsettings,
    partial,
    series,
    temporality,
    views,
)
from kymograph.telemetry.families import Values
from kymograph.telemetry.views import Description as Description  # noqa: PLC0414 - what instruments are declared with

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
"""Upper bounds in seconds, those of Kyverno's histograms, so that its dashboards work unchanged."""


BUCKET = 96
"""Bytes of a bucket: its count, and what was told of it. Exemplars are in few of them."""

EXPONENTIAL = 4_096
"""Bytes of the exponential buckets of a series, of which durations of one kind fill some dozens."""


class Mark(NamedTuple):
    """One observation that can be looked up: its value, when it was (nanoseconds since the epoch), and its span."""

    value: float
    time: int
    trace_id: int
    span_id: int

    def exemplar(self) -> Exemplar:
        """Write it as the SDK does."""
        return Exemplar({}, self.value, self.time, self.span_id, self.trace_id)


class CounterCell(series.Cell):
    """One series of a counter."""

    __slots__ = ("mark", "value")

    def __init__(self, labels: Values, start: int = 0) -> None:
        super().__init__(labels, start)
        self.value = 0
        self.mark: Mark | None = None

    def add(self, amount: int = 1) -> None:
        """Count."""
        self.value += amount

    def exemplify(self, mark: Mark) -> None:
        """Point at a trace that was counted here."""
        self.mark = mark

    def absorb(self, part: Self) -> None:
        """Take in what another cell counted; see `series.Cell`."""
        self.value += part.value
        self.mark = part.mark or self.mark


class HistogramCell(series.Cell):
    """One series of a histogram."""

    __slots__ = ("bounds", "counts", "exponential", "marks", "sum")

    def __init__(self, labels: Values, bounds: tuple[float, ...], start: int = 0) -> None:
        super().__init__(labels, start)
        self.exponential: exponential.Exponential | None = None
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.marks: dict[int, Mark] | None = None

    def record(self, value: float) -> None:
        """Observe a value; a bucket's upper bound belongs to it."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.sum += value
        if self.exponential is not None:
            self.exponential.record(value)

    def exemplify(self, mark: Mark) -> None:
        """Point at a trace that was observed here: the last one of each bucket is kept."""
        if self.marks is None:
            self.marks = {}
        self.marks[bisect.bisect_left(self.bounds, mark.value)] = mark

    @property
    def exemplars(self) -> list[Exemplar]:
        """The traces that were pointed at; correct from any thread."""
        return [mark.exemplar() for mark in self.marks.copy().values()] if self.marks else []

    def absorb(self, part: Self) -> None:
        """Take in what another cell with the same buckets observed; see `series.Cell`."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, part.counts, strict=True)]
        self.sum += part.sum
        if self.exponential is not None and part.exponential is not None:
            self.exponential.absorb(part.exponential)
        if part.marks:
            self.marks = {**(self.marks or {}), **part.marks}


class Counter(series.Instrument[CounterCell]):
    """A monotonic sum, by label values."""

    counts = True

    def _make(self, values: Values) -> CounterCell:
        return CounterCell(values, self._start)

    def _data(self, points: list[temporality.CellNumber]) -> export.Sum:
        return export.Sum(points, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)

    def _points(self, clock: Callable[[], int]) -> Iterator[temporality.CellNumber]:
        for attributes, cell in self._series:
            yield temporality.CellNumber(
                attributes=attributes,
                start_time_unix_nano=cell.start,
                time_unix_nano=clock(),
                value=cell.value,
                exemplars=[cell.mark.exemplar()] if cell.mark is not None else [],
                source=cell,
            )


class Histogram(series.Instrument[HistogramCell]):
    """A distribution over explicit buckets, by label values.

    Args:
        about: What the instrument is.
        start: Nanoseconds since the epoch at which its series begin at zero.
        bounds: Ascending upper bounds, without infinity, where no view says otherwise.
    """

    has_buckets = True

    def __init__(self, about: Description, start: int, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._exponential_since = start
        super().__init__(about, start)

    def show(self, view: views.View, now: int) -> bool:
        """Show it otherwise; see `Family`. Exponential buckets that are wanted from now on count from now on."""
        before = self._view.exponential
        if view.exponential and not before:
            self._exponential_since = now
        rebound = super().show(view, now)
        if view.exponential != before:
            for _, cell in self._series:
                cell.exponential = exponential.Exponential(now) if view.exponential else None
        return rebound

    @property
    def _weight(self) -> int:
        view = self._view
        buckets = len(self._bounds if view.bounds is None else view.bounds) + 1
        return series.CELL + BUCKET * buckets + (EXPONENTIAL if view.exponential else 0)

    def _make(self, values: Values) -> HistogramCell:
        view = self._view
        cell = HistogramCell(values, self._bounds if view.bounds is None else view.bounds, self._start)
        if view.exponential:
            cell.exponential = exponential.Exponential(max(self._start, self._exponential_since))
        return cell

    def _exponential_data(self, points: list[exponentialpoints.CellExponential]) -> export.ExponentialHistogram:
        return export.ExponentialHistogram(points, export.AggregationTemporality.CUMULATIVE)

    def _exponential_points(self, clock: Callable[[], int]) -> Iterator[exponentialpoints.CellExponential]:
        return (
            cell.exponential.point(attributes, clock(), cell.exemplars)
            for attributes, cell in self._series
            if cell.exponential is not None
        )

    def _data(self, points: list[temporality.CellHistogram]) -> export.Histogram:
        return export.Histogram(points, export.AggregationTemporality.CUMULATIVE)

    def _points(self, clock: Callable[[], int]) -> Iterator[temporality.CellHistogram]:
        return (self._point(attributes, cell, clock()) for attributes, cell in self._series)

    def _point(self, attributes: Mapping[str, str | bool], cell: HistogramCell, now: int) -> temporality.CellHistogram:
        total, counts = cell.sum, cell.counts.copy()
        return temporality.CellHistogram(
            attributes=attributes,
            start_time_unix_nano=cell.start,
            time_unix_nano=now,
            count=sum(counts),
            sum=total,
            bucket_counts=counts,
            explicit_bounds=cell.bounds,
            min=None,  # type: ignore[arg-type] # not kept; optional in OTLP, whose encoder leaves None out
            max=None,  # type: ignore[arg-type] # the same
            exemplars=cell.exemplars,
            source=cell,
        )


FamilyT = TypeVar("FamilyT", bound=families.Family)


class Cells:
    """All instruments made of cells. One per process.

    Args:
        scope: The instrumentation scope they belong to.
        wall_clock: Nanoseconds since the epoch.
        room: What all series together may hold of memory.

    Attributes:
        scope: The instrumentation scope they belong to.
        exemplars: Whether whoever counts is to say which traces it counted.
    """

    def __init__(
        self, scope: InstrumentationScope, wall_clock: Callable[[], int], room: memory.Share | None = None
    ) -> None:
        self._room = room or memory.Share(memory.SERIES)
        self.scope = scope
        self._wall_clock = wall_clock
        self._families: dict[str, families.Family] = {}
        self._holders: list[Callable[[], None]] = []
        self.exemplars = True

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

    def info(self, about: Description) -> families.Info:
        """Declare a gauge of what there is.

        Raises:
            InstrumentInvalid: The name is taken.
        """
        return self._declare(families.Info(about))

    def observed(self, about: Description, merged: Callable[[float, float], float] = operator.add) -> families.Observed:
        """Declare a gauge that is read from those who know; `merged` makes one value of those of several series.

        Raises:
            InstrumentInvalid: The name is taken.
        """
        return self._declare(families.Observed(about, merged))

    def observed_counter(self, about: Description) -> families.ObservedCounter:
        """Declare a counter that somebody else keeps.

        Raises:
            InstrumentInvalid: The name is taken.
        """
        return self._declare(families.ObservedCounter(about, self._wall_clock()))

    def sizes(self) -> Iterator[tuple[str, int, int]]:
        """Of each metric made of cells: its name in a scrape, its series, and how many sets of labels had no room."""
        for family in list(self._families.values()):
            if isinstance(family, series.Instrument):
                yield family.about.name, family.size, family.overflowed

    def on_rebinding(self, holder: Callable[[], None]) -> None:
        """Call whoever keeps bound cells when some are the metrics' no longer: all must be bound anew."""
        self._holders.append(holder)

    def check(
        self, wanted: metricsettings.MetricSettings, parts: partial.Whole = partial.WHOLE
    ) -> Mapping[str, views.View]:
        """Make the views of all metrics, by name, and put nothing in force.

        Raises:
            SettingsInvalid: A metric or label is named that there is not.
        """
        return views.resolve(wanted, (family.subject for family in self._families.values()), parts)

    def configure(self, wanted: metricsettings.MetricSettings) -> None:
        """Show the metrics as the settings say, from now on; called in the thread that writes cells.

        A metric whose settings did not change is not touched: none of its counters is reset.

        Raises:
            SettingsInvalid: See `check`; then nothing changed.
        """
        self.show(self.check(wanted), exemplars=wanted.exemplars)

    def show(self, resolved: Mapping[str, views.View], *, exemplars: bool) -> None:
        """The same with views that `check` made, which cannot fail."""
        now = self._wall_clock()
        self.exemplars = exemplars
        changed = [family.show(resolved[name], now) for name, family in self._families.items()]
        if any(changed):
            self._rebind()

    def forget(self, about: Mapping[str, str]) -> None:
        """Drop the series of what is gone: those with all of these label values, in every metric that shows them.

        Called in the thread that writes cells. Takes about 0.1 ms for each 1,000 series there are.
        """
        now = self._wall_clock()
        dropped = [family.forget(about, now) for family in self._families.values()]
        if any(dropped):
            self._rebind()

    def read(self, *, exponential: bool = False) -> list[export.Metric]:
        """Read all cells into data points. Correct from any thread, while cells are written.

        Args:
            exponential: Read distributions with exponential buckets, where they are kept.
        """
        now = self._wall_clock()
        read = (family.collect(now, exponential=exponential) for family in list(self._families.values()))
        return [metric for metric in read if metric is not None]

    def stream(self) -> Iterator[families.Reading]:
        """Read all cells point by point, each when it is reached; correct from any thread, while cells are written.

        A series that goes meanwhile may be in it still, as it was at last; one that comes may be in it or not.
        """
        for family in list(self._families.values()):
            reading = family.stream(self._wall_clock)
            if reading is not None:
                yield reading

    def parts(self, size: int) -> Iterator[export.Metric]:
        """Read all cells as they are pushed, so many data points of a metric at a time; see `stream`."""
        for family in list(self._families.values()):
            yield from family.parts(self._wall_clock, size, exponential=True)

    def _declare(self, family: FamilyT) -> FamilyT:
        name = family.about.name
        if name in self._families:
            raise errors.InstrumentInvalid(f"{name} is declared twice")
        self._families[name] = family
        if isinstance(family, series.Instrument):
            family.share(self._room)
        return family

    def _rebind(self) -> None:
        for holder in self._holders:
            holder()
