"""`policy_changes_total`: what became of policies. A restart counts no policy that exists as created.

The series of a deleted policy stay: that it was deleted is what they say.
"""

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="policy_changes_total",
    description="can be used to track all the changes associated with the Kyverno policies present on the cluster such"
    " as creation, updates and deletions",
    unit="{change}",
    labels=labels.Change._fields,
    kyverno=True,
    lasting=True,
    unifies=True,
)
