"""`ttl_controller_deletedobjects_total`: objects that were deleted because their TTL label said so.

Kyverno counts an object each time it looks at it before it is due, and not when it deletes it; this counts deletions.
"""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="ttl_controller_deletedobjects_total",
    description="can be used to track number of deleted objects by the ttl resource controller.",
    unit="{object}",
    labels=labels.Cleaned._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
)
