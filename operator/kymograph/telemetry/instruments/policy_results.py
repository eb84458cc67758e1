"""`policy_results_total`: results of rules."""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="policy_results_total",
    description="can be used to track the results associated with the policies applied in the user's cluster, at the"
    " level from rule to policy to admission requests",
    unit="{result}",
    labels=labels.Rule._fields,
    kyverno=True,
    optional=views.BY_NAMESPACE,
    unifies=True,
)
