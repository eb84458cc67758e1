"""Every kind whose CustomResourceDefinition ships with the operator."""

from kymograph.model import policy, policyreport, tracingconfiguration

SHIPPED = (
    policy.CLUSTER_POLICY,
    policy.POLICY,
    policyreport.POLICY_REPORT,
    policyreport.CLUSTER_POLICY_REPORT,
    tracingconfiguration.TRACING_CONFIGURATION,
)
