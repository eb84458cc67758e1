"""`events_dropped_total`: Events that nobody will see."""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="events_dropped_total",
    description="can be used to track the number of events dropped by the event generator",
    unit="{event}",
    labels=(),
    kyverno=True,
)
