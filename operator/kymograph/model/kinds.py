"""Every kind whose CustomResourceDefinition ships with the operator."""

from kymograph.model import (
    cleanuppolicy,
    exception,
    globalcontext,
    policy,
    policyreport,
    tracingconfiguration,
    updaterequest,
)

SHIPPED = (
    policy.CLUSTER_POLICY,
    policy.POLICY,
    exception.POLICY_EXCEPTION,
    globalcontext.GLOBAL_CONTEXT_ENTRY,
    cleanuppolicy.CLEANUP_POLICY,
    cleanuppolicy.CLUSTER_CLEANUP_POLICY,
    policyreport.POLICY_REPORT,
    policyreport.CLUSTER_POLICY_REPORT,
    tracingconfiguration.TRACING_CONFIGURATION,
    updaterequest.UPDATE_REQUEST,
)
