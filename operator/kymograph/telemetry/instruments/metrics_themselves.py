"""Metrics about metrics: how many series there are, what has no room, and what a receiver took."""

from kymograph.telemetry import cells

SERIES = cells.Description(
    name="telemetry_metric_series",
    description="Series of a metric, the overflow series among them.",
    unit="{series}",
    labels=("metric",),
)

OVERFLOW = cells.Description(
    name="telemetry_metric_overflow_total",
    description="Sets of labels that found no room in a metric and are counted in its overflow series.",
    unit="{series}",
    labels=("metric",),
)

EXPORTED = cells.Description(
    name="telemetry_metric_points_exported_total",
    description="Data points that the receiver of metrics took.",
    unit="{data_point}",
    labels=(),
)

DROPPED = cells.Description(
    name="telemetry_metric_points_dropped_total",
    description="Data points that the receiver of metrics rejected for good.",
    unit="{data_point}",
    labels=(),
)
