"""What Kyverno counts of its DeletingPolicies: as of cleanup policies, but for one label.

Under our names they do not show: `cleanup_controller_deletedobjects_total` and its like are about every kind of policy
that deletes, with the kind as `policy_type`.
"""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

DELETED = cells.Description(
    name="deleting_controller_deletedobjects_total",
    description="can be used to track number of deleted objects.",
    unit="{object}",
    labels=labels.DeletedByPolicy._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
    unified=True,
)

ERRORS = cells.Description(
    name="deleting_controller_errors_total",
    description="can be used to track number of deleting failures.",
    unit="{error}",
    labels=labels.DeletedByPolicy._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
    unified=True,
)
