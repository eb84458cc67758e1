"""`policy_rule_info_total`: the rules that there are, one series of 1 each. A gauge, for all that its name says."""

from kymograph.telemetry import cells
from kymograph.telemetry.instruments import labels

ABOUT = cells.Description(
    name="policy_rule_info_total",
    description="can be used to track the info of the rules or/and policies present in the cluster. 0 means the rule"
    " doesn't exist and has been deleted, 1 means the rule is currently existent in the cluster",
    unit="{rule}",
    labels=labels.RuleInfo._fields,
    kyverno=True,
    unifies=True,
)
