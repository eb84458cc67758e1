"""`admission_review_duration_seconds`: from the request's arrival to its answer."""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="admission_review_duration_seconds",
    description="can be used to track the latencies (in seconds) associated with the entire individual admission"
    " review. For example, if an incoming request trigger, say, five policies, this metric will track the e2e latency"
    " associated with the execution of all those policies",
    unit="s",
    labels=labels.Review._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
)
