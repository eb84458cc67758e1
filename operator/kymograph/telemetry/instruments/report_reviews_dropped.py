"""`report_reviews_dropped_total`: reviews whose results will not be in a report."""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="report_reviews_dropped_total",
    description="Admission reviews whose results are missing from reports because too many were waiting.",
    unit="{review}",
    labels=(),
)
