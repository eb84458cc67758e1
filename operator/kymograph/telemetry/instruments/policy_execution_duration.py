"""`policy_execution_duration_seconds`: how long rules took."""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="policy_execution_duration_seconds",
    description="can be used to track the latencies (in seconds) associated with the execution/processing of the"
    " individual rules under Kyverno policies whenever they evaluate incoming resource requests",
    unit="s",
    labels=labels.Rule._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
    unifies=True,
)
