"""What all metrics of ours have in common, and those that need no cells: what somebody else knows at the moment."""

import abc
import itertools
import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from opentelemetry.sdk.metrics import export

from kymograph.telemetry import metricsettings, views

logger = logging.getLogger(__name__)

OVERFLOW: Mapping[str, str | bool] = {"otel.metric.overflow": True}
"""The attributes of the series that takes what comes when a metric has no room for another series; as in the SDK."""

Values = tuple[str, ...]
"""The values of a series' labels, in the order of their names."""


Point = export.NumberDataPoint | export.HistogramDataPoint


class Reading(NamedTuple):
    """A metric that is read point by point, so that what is read of it never is there as a whole.

    Attributes:
        name: Its name in OTLP.
        description: The HELP text.
        kind: `counter`, `gauge` or `histogram`, as Prometheus calls them.
        points: Its series, each as it is when it is reached; to be taken once.
    """

    name: str
    description: str
    kind: str
    points: Iterator[Point]


class Family(abc.ABC):
    """One metric, however its values come about.

    Args:
        about: What it is.
    """

    counts: ClassVar[bool] = False
    has_buckets: ClassVar[bool] = False

    def __init__(self, about: views.Description) -> None:
        self.about = about
        self._view = views.resolve(metricsettings.MetricSettings(), (self.subject,))[about.name]

    @property
    def subject(self) -> views.Subject:
        """The metric as views know it."""
        return views.Subject(self.about, self.counts, self.has_buckets)

    @abc.abstractmethod
    def show(self, view: views.View, now: int) -> bool:
        """Show it otherwise from now on (nanoseconds since the epoch); whether bound cells are its no longer."""

    @abc.abstractmethod
    def forget(self, about: Mapping[str, str], now: int) -> bool:
        """Drop the series with all of these label values; whether there were any."""

    def collect(self, now: int, *, exponential: bool = False) -> export.Metric | None:
        """Read it into data points; None while there are none.

        Args:
            now: Nanoseconds since the epoch.
            exponential: With exponential buckets, where it has them.
        """
        return next(self.parts(lambda: now, None, exponential=exponential), None)

    def parts(
        self, clock: Callable[[], int], size: int | None, *, exponential: bool = False
    ) -> Iterator[export.Metric]:
        """Read it into data points, so many at a time, each when it is reached.

        Args:
            clock: Nanoseconds since the epoch.
            size: Data points in one part; None for all.
            exponential: With exponential buckets, where it has them.
        """
        view = self._view
        if not view.enabled:
            return
        points, data = self._points, self._data
        if exponential and view.exponential:
            points, data = self._exponential_points, self._exponential_data
        left = points(clock)
        while part := list(itertools.islice(left, size)):
            yield export.Metric(view.name, self.about.description, self.about.unit, data(part))

    def stream(self, clock: Callable[[], int]) -> Reading | None:
        """Read it point by point; None while it is not shown.

        Args:
            clock: Nanoseconds since the epoch.
        """
        view = self._view
        if not view.enabled:
            return None
        kind = "histogram" if self.has_buckets else "counter" if self.counts else "gauge"
        return Reading(view.name, self.about.description, kind, self._points(clock))

    @abc.abstractmethod
    def _points(self, clock: Callable[[], int]) -> Iterator[Any]:
        """The data points, each as it is when it is reached."""

    @abc.abstractmethod
    def _data(self, points: list[Any]) -> export.DataT:
        """Some of them as the SDK has them."""

    def _exponential_points(self, clock: Callable[[], int]) -> Iterator[Any]:
        """Those with exponential buckets; the same where there are no buckets."""
        return self._points(clock)

    def _exponential_data(self, points: list[Any]) -> export.DataT:
        return self._data(points)


class Gathered(Family):
    """A metric that is read from those who know when a reader collects.

    Args:
        about: What it is.
        merged: The value of a series that several became, because a label is dropped or there is no room.
    """

    def __init__(self, about: views.Description, merged: Callable[[float, float], float]) -> None:
        super().__init__(about)
        self._merged = merged
        self._start = 0
        self._sources: dict[str, Callable[[], Iterable[tuple[Values, float]]]] = {}
        self._failed = False

    @property
    def tells_namespaces(self) -> bool:
        """Whether it makes a difference which namespace a series is about: they are told apart, or not all counted."""
        view = self._view
        return view.namespace is not None and (view.namespace in view.kept or view.namespaces.excludes)

    def show(self, view: views.View, now: int) -> bool:  # noqa: ARG002 - the signature of all metrics
        """Show it otherwise; see `Family`."""
        self._view = view
        return False

    def forget(self, about: Mapping[str, str], now: int) -> bool:  # noqa: ARG002 - the signature of all metrics
        """Nothing to drop: what is gone is not observed."""
        return False

    def _points(self, clock: Callable[[], int]) -> Iterator[export.NumberDataPoint]:
        view, start = self._view, self._start
        labels = [self.about.labels[at] for at in view.kept]
        there_are: dict[Values, float] = {}
        overflow: float | None = None
        for values, value in self._told():
            if not view.admits(values):
                continue
            key = values if len(view.kept) == len(values) else tuple(values[at] for at in view.kept)
            if key in there_are:
                there_are[key] = self._merged(there_are[key], value)
            elif len(there_are) < view.limit - 1:
                there_are[key] = value
            else:
                overflow = value if overflow is None else self._merged(overflow, value)
        for key, value in there_are.items():
            yield export.NumberDataPoint(dict(zip(labels, key, strict=True)), start, clock(), value)
        if overflow is not None:
            yield export.NumberDataPoint(OVERFLOW, start, clock(), overflow)

    def _told(self) -> Iterator[tuple[Values, float]]:
        """What all sources say. One that raises says no more this time; the others, and other metrics, go on."""
        for source in list(self._sources.values()):
            try:
                yield from source()
            except Exception:  # whoever is read may be changing just now
                if not self._failed:
                    logger.exception("What %s is read from raised; what it had not told is not shown", self.about.name)
                self._failed = True


class Observed(Gathered):
    """What somebody knows at the moment: a gauge."""

    def observe(self, what: Callable[[], Iterable[tuple[Values, float]]], of: str = "") -> None:
        """Say where it is read from, from any thread; of each part of the process the latest word counts."""
        self._sources[of] = what

    def _data(self, points: list[export.NumberDataPoint]) -> export.Gauge:
        return export.Gauge(points)


class ObservedCounter(Gathered):
    """A count that somebody else keeps.

    Args:
        about: What it is.
        start: Nanoseconds since the epoch at which it began.
    """

    counts = True

    def __init__(self, about: views.Description, start: int) -> None:
        super().__init__(about, operator.add)
        self._start = start

    def observe(self, what: Callable[[], Iterable[tuple[Values, float]]]) -> None:
        """Say where it is read from; called from any thread."""
        self._sources[""] = what

    def _data(self, points: list[export.NumberDataPoint]) -> export.Sum:
        return export.Sum(points, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)


class Info(Gathered):
    """What there is at the moment: a gauge of 1 for each set of label values.

    Series that a dropped label made alike are one, and still 1: dashboards select those that equal 1.
    """

    def __init__(self, about: views.Description) -> None:
        super().__init__(about, max)

    def observe(self, what: Callable[[], Iterable[Values]]) -> None:
        """Say where it is read from; called from any thread."""
        self._sources[""] = lambda: ((values, 1) for values in what())

    def _data(self, points: list[export.NumberDataPoint]) -> export.Gauge:
        return export.Gauge(points)
