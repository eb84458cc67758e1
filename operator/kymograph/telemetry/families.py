"""What all metrics of ours have in common, and those that need no cells: what somebody else knows at the moment."""

import abc
import itertools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from opentelemetry.sdk.metrics import export

from kymograph.telemetry import metricsettings, views

OVERFLOW: Mapping[str, str | bool] = {"otel.metric.overflow": True}
"""The attributes of the series that takes what comes when a metric has no room for another series; as in the SDK."""

Values = tuple[str, ...]
"""The values of a series' labels, in the order of their names."""


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
        view = self._view
        data: export.DataT | None = None
        if view.enabled:
            data = self._exponential_data(now) if exponential and view.exponential else self._data(now)
        if data is None or not data.data_points:
            return None
        return export.Metric(view.name, self.about.description, self.about.unit, data)

    def _exponential_data(self, now: int) -> export.DataT:
        """The data with exponential buckets; the same where there are no buckets."""
        return self._data(now)

    @abc.abstractmethod
    def _data(self, now: int) -> export.Sum | export.Histogram | export.Gauge: ...


class Gathered(Family):
    """A metric that is read from those who know when a reader collects.

    Args:
        about: What it is.
        merged: The value of a series that several became, because a label is dropped or there is no room.
    """

    def __init__(self, about: views.Description, merged: Callable[[float, float], float]) -> None:
        super().__init__(about)
        self._merged = merged
        self._sources: dict[str, Callable[[], Iterable[tuple[Values, float]]]] = {}

    def show(self, view: views.View, now: int) -> bool:  # noqa: ARG002 - the signature of all metrics
        """Show it otherwise; see `Family`."""
        self._view = view
        return False

    def forget(self, about: Mapping[str, str], now: int) -> bool:  # noqa: ARG002 - the signature of all metrics
        """Nothing to drop: what is gone is not observed."""
        return False

    def _points(self, now: int, start: int = 0) -> list[export.NumberDataPoint]:
        view = self._view
        labels = [self.about.labels[at] for at in view.kept]
        there_are: dict[Values, float] = {}
        overflow: float | None = None
        for values, value in itertools.chain.from_iterable(source() for source in list(self._sources.values())):
            if not view.admits(values):
                continue
            key = tuple(values[at] for at in view.kept)
            if key in there_are:
                there_are[key] = self._merged(there_are[key], value)
            elif len(there_are) < view.limit - 1:
                there_are[key] = value
            else:
                overflow = value if overflow is None else self._merged(overflow, value)
        points = [
            export.NumberDataPoint(dict(zip(labels, key, strict=True)), start, now, value)
            for key, value in there_are.items()
        ]
        return points if overflow is None else [*points, export.NumberDataPoint(OVERFLOW, start, now, overflow)]


class Observed(Gathered):
    """What somebody knows at the moment: a gauge."""

    def observe(self, what: Callable[[], Iterable[tuple[Values, float]]], of: str = "") -> None:
        """Say where it is read from, from any thread; of each part of the process the latest word counts."""
        self._sources[of] = what

    def _data(self, now: int) -> export.Gauge:
        return export.Gauge(self._points(now))


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

    def _data(self, now: int) -> export.Sum:
        points = self._points(now, self._start)
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

    def _data(self, now: int) -> export.Gauge:
        return export.Gauge(self._points(now))
