"""`report_results`: what the reports of the cluster say at the moment, at the replica that leads.

A counter tells how often a rule failed; this tells how many objects fail it now. Kyverno has nothing like it.
"""

from kymograph.telemetry import cells, views
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="report_results",
    description="Results in the reports of the cluster as they stand, at the replica that leads.",
    unit="{result}",
    labels=labels.ReportResult._fields,
    optional=views.BY_NAMESPACE,
)
