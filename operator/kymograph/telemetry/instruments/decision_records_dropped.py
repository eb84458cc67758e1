"""`decision_records_dropped_total`: denials without a record in the log, because there were too many at once."""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="decision_records_dropped_total",
    description="Denials that were not logged, because there were too many of them in a second.",
    unit="{record}",
    labels=(),
)
