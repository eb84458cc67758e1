"""`scanned_objects_total`: objects that policies were asked about without a request, by what came of it."""

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="scanned_objects_total",
    description="Objects that background scans looked at: whether their report says already what was found.",
    unit="{object}",
    labels=labels.Scanned._fields,
)
