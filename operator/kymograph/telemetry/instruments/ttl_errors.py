"""`ttl_controller_errors_total`: deletions of the TTL controller that failed; each is tried again."""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="ttl_controller_errors_total",
    description="can be used to track number of ttl cleanup failures.",
    unit="{error}",
    labels=labels.Cleaned._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
)
