"""Why cases of Kyverno's own suite cannot pass here, whoever answers the API server.

Told beside what a run says of them, so that a table explains itself; nothing is left out or passed because of it.
"""

import fnmatch
from collections.abc import Mapping

REASONS: Mapping[str, str] = {
    "force-failure-policy-ignore/cluster-policy/*": (
        "asserts that webhooks are reached by the Service kyverno/kyverno-svc; here the operator runs beside the "
        "cluster and is reached by URL. Names and failurePolicy are as asserted"
    ),
    "generate/clusterpolicy/cornercases/cpol-data-nosync-rejected-create": (
        "writes an UpdateRequest into the namespace kyverno; those of the operator are in its own, where it ends as "
        "asserted"
    ),
    "generate/clusterpolicy/standard/data/nosync/generate-on-subresource-trigger": (
        "executes a command in a container, which takes a kubelet"
    ),
    "lease/*": "waits for a container of a Kyverno controller to be restarted, which takes its Pods and a kubelet",
    "reports/admission/label": (
        "asserts an EphemeralReport, Kyverno's intermediate form of a report; here there is none, reports are written "
        "at once"
    ),
    "rbac/aggregate-to-admin": (
        "asserts ClusterRoles of Kyverno's names that let administrators of namespaces write reports and "
        "UpdateRequests; ours grant less"
    ),
    "tls-certificates/*": (
        "reads the Secrets of Kyverno's installation, made by cert-manager or with the key that its flags ask for"
    ),
    "ttl/propagation-policy/*": "waits for a Pod of a Job to keep running; the simulated node ends it at once",
    "validate/clusterpolicy/cornercases/ephemeral-containers*": (
        "applies a debug container without the capability that newer kubectl adds to it, which the API server refuses"
    ),
    "validate/clusterpolicy/standard/enforce*/block-pod-exec-requests": (
        "asserts that the words of the denial are not on one line; Kyverno v1.19.1 does not fold them either"
    ),
    "webhooks/unknown-kind": (
        "expects a refusal of kinds that are not served; Kyverno v1.19.1 warns and accepts, as "
        "policy-validation/cluster-policy/crd-non-exist expects"
    ),
}
"""By pattern of the case's path."""


def of(path: str) -> str:
    """The reason of a case; empty where none is known."""
    return next((reason for pattern, reason in REASONS.items() if fnmatch.fnmatchcase(path, pattern)), "")
