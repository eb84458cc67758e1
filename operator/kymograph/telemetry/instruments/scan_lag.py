"""`scan_lag_seconds`: how far scans are behind the objects that change. A replica that does not scan has none."""

from kymograph.telemetry import cells

ABOUT = cells.Description(
    name="scan_lag_seconds",
    description="How long the change of an object has been waiting to be scanned, for the one waiting longest.",
    unit="s",
    labels=(),
)
