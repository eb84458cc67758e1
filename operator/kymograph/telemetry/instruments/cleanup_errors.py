"""`cleanup_controller_errors_total`: what a cleanup policy could not list, decide or delete."""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="cleanup_controller_errors_total",
    description="can be used to track number of cleanup failures.",
    unit="{error}",
    labels=labels.CleanedByPolicy._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
)
