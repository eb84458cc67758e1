"""`cleanup_controller_deletedobjects_total`: objects that cleanup policies deleted."""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="cleanup_controller_deletedobjects_total",
    description="can be used to track number of deleted objects.",
    unit="{object}",
    labels=labels.CleanedByPolicy._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
)
