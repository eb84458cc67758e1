"""`report_updates_total`: objects whose report was looked at, by what became of it."""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="report_updates_total",
    description="Objects whose report was looked at, by outcome.",
    unit="{object}",
    labels=("outcome",),
)
