"""What all metrics of ours have in common, and the one kind that needs no cells: what there is at the moment."""

import abc
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

    def collect(self, now: int) -> export.Metric | None:
        """Read it into data points; None while there are none. `now` is in nanoseconds since the epoch."""
        view = self._view
        data = self._data(now) if view.enabled else None
        if data is None or not data.data_points:
            return None
        return export.Metric(view.name, self.about.description, self.about.unit, data)

    @abc.abstractmethod
    def _data(self, now: int) -> export.Sum | export.Histogram | export.Gauge: ...


class Info(Family):
    """What there is at the moment: a gauge of 1 for each set of label values, observed when a reader collects.

    Series that a dropped label made alike are one, and still 1: dashboards select those that equal 1.
    """

    def __init__(self, about: views.Description) -> None:
        super().__init__(about)
        self._observed: Callable[[], Iterable[Values]] = tuple

    def observe(self, what: Callable[[], Iterable[Values]]) -> None:
        """Say where it is read from; called from any thread."""
        self._observed = what

    def show(self, view: views.View, now: int) -> bool:  # noqa: ARG002 - the signature of all metrics
        """Show it otherwise; see `Family`."""
        self._view = view
        return False

    def forget(self, about: Mapping[str, str], now: int) -> bool:  # noqa: ARG002 - the signature of all metrics
        """Nothing to drop: what is gone is not observed."""
        return False

    def _data(self, now: int) -> export.Gauge:
        view = self._view
        labels = [self.about.labels[at] for at in view.kept]
        there_are: dict[Values, Mapping[str, str | bool]] = {}
        overflow = False
        for values in self._observed():
            key = tuple(values[at] for at in view.kept)
            if key in there_are or (view.namespace is not None and not view.namespaces.admits(values[view.namespace])):
                continue
            if len(there_are) < view.limit - 1:
                there_are[key] = dict(zip(labels, key, strict=True))
            else:
                overflow = True
        shown = [*there_are.values(), *([OVERFLOW] if overflow else [])]
        return export.Gauge([export.NumberDataPoint(each, 0, now, 1) for each in shown])
