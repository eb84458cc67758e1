"""Whether a kind lives in namespaces: known here of Kubernetes' own kinds, of others only where a cluster is asked."""

from collections.abc import Callable
from typing import TypeAlias

from kymograph.apimachinery import gvk

Scope: TypeAlias = Callable[[str, str], bool | None]
"""From an apiVersion (empty for any) and a kind to whether it is namespaced; None where that is not known."""

_CLUSTER = {
    "": ("ComponentStatus", "Namespace", "Node", "PersistentVolume"),
    "admissionregistration.k8s.io": (
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    ),
    "apiextensions.k8s.io": ("CustomResourceDefinition",),
    "apiregistration.k8s.io": ("APIService",),
    "apps": (),
    "authentication.k8s.io": ("SelfSubjectReview", "TokenReview"),
    "authorization.k8s.io": ("SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"),
    "autoscaling": (),
    "batch": (),
    "certificates.k8s.io": ("CertificateSigningRequest", "ClusterTrustBundle"),
    "coordination.k8s.io": (),
    "discovery.k8s.io": (),
    "events.k8s.io": (),
    "flowcontrol.apiserver.k8s.io": ("FlowSchema", "PriorityLevelConfiguration"),
    "networking.k8s.io": ("IngressClass", "IPAddress", "ServiceCIDR"),
    "node.k8s.io": ("RuntimeClass",),
    "policy": (),
    "rbac.authorization.k8s.io": ("ClusterRole", "ClusterRoleBinding"),
    "resource.k8s.io": ("DeviceClass", "ResourceSlice"),
    "scheduling.k8s.io": ("PriorityClass",),
    "storage.k8s.io": ("CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"),
}
"""The groups that the API server itself serves, with their kinds that are not namespaced."""

_CLUSTER_KINDS = frozenset(kind for kinds in _CLUSTER.values() for kind in kinds)


def builtin(api_version: str, kind: str) -> bool | None:
    """What is known without a cluster."""
    if "{{" in kind or "*" in kind or not kind:
        return None
    group, _ = gvk.split_api_version(api_version)
    if not api_version:
        return False if kind in _CLUSTER_KINDS else None
    return kind not in _CLUSTER[group] if group in _CLUSTER else None
