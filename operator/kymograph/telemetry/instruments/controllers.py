"""What controllers do, one unit of work after the other: how often, how long, how it ended, and what waits.

The names with `controller_` are Kyverno's, those with `workqueue_` Kubernetes' own components have.
"""

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

RECONCILED = cells.Description(
    name="controller_reconcile_total",
    description="can be used to track number of reconciliation cycles",
    unit="{reconciliation}",
    labels=("controller_name",),
    kyverno=True,
)

REQUEUED = cells.Description(
    name="controller_requeue_total",
    description="can be used to track number of reconciliation errors",
    unit="{reconciliation}",
    labels=("controller_name", "num_requeues"),
    kyverno=True,
)

DROPPED = cells.Description(
    name="controller_drop_total",
    description="can be used to track number of queue drops",
    unit="{reconciliation}",
    labels=("controller_name",),
    kyverno=True,
)

DURATION = cells.Description(
    name="controller_reconcile_duration_seconds",
    description="How long one unit of a controller's work took, by how it ended.",
    unit="s",
    labels=labels.Reconciliation._fields,
)

DEPTH = cells.Description(
    name="workqueue_depth",
    description="What waits for a controller's turn.",
    unit="{item}",
    labels=("name",),
)

WAITED = cells.Description(
    name="workqueue_queue_duration_seconds",
    description="How long it waited once it could have been worked on.",
    unit="s",
    labels=("name",),
)

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds in seconds."""
