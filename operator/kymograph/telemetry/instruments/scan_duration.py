"""`scan_duration_seconds`: how long it took to look at all objects of a kind."""

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="scan_duration_seconds",
    description="How long background scans took, by the kind of the objects; what they found may still be written.",
    unit="s",
    labels=labels.Scan._fields,
)

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper bounds in seconds: a scan of a few objects to one of hundreds of thousands."""
