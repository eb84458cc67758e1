"""Objects from files, made into what a request would carry.

Where a file leaves out the namespace, an object of a namespaced kind is in `default`, as `kubectl apply` would have it.
Which kinds have no namespace is known for Kubernetes' own kinds and for those whose CustomResourceDefinition is given;
any other kind counts as namespaced.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from kymograph.apimachinery import gvk

CLUSTER_SCOPED: frozenset[tuple[str, str]] = frozenset(
    (group, kind)
    for group, kinds in {
        "": "ComponentStatus Namespace Node PersistentVolume",
        "admissionregistration.k8s.io": "MutatingWebhookConfiguration ValidatingAdmissionPolicy "
        "ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration",
        "apiextensions.k8s.io": "CustomResourceDefinition",
        "apiregistration.k8s.io": "APIService",
        "authentication.k8s.io": "SelfSubjectReview TokenReview",
        "authorization.k8s.io": "SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
        "certificates.k8s.io": "CertificateSigningRequest",
        "flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
        "networking.k8s.io": "IPAddress IngressClass ServiceCIDR",
        "node.k8s.io": "RuntimeClass",
        "rbac.authorization.k8s.io": "ClusterRole ClusterRoleBinding",
        "resource.k8s.io": "DeviceClass ResourceSlice",
        "scheduling.k8s.io": "PriorityClass",
        "storage.k8s.io": "CSIDriver CSINode StorageClass VolumeAttachment VolumeAttributesClass",
    }.items()
    for kind in kinds.split()
)
"""(group, kind) of the kinds without a namespace: those that Kyverno's command line knows, so that rows agree."""

_MAPS = frozenset({"annotations", "labels", "matchLabels", "nodeSelector", "data", "stringData"})
_DEFAULT_NAMESPACE = "default"


class Key(NamedTuple):
    """What tells objects of a test apart. Prints as Kyverno names a resource in a row.

    Attributes:
        api_version: `apps/v1`.
        kind: `Deployment`.
        namespace: Its namespace; empty for cluster-scoped objects.
        name: Its name; empty for one with a `generateName` only.
    """

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(self) if self.kind else f"/{self.name}"


def key_of(resource: Mapping[str, Any]) -> Key:
    """The key of an object.

    Args:
        resource: The object; fields that are missing or no text count as empty.
    """
    metadata = resource.get("metadata")
    if not isinstance(metadata, Mapping):
        metadata = {}
    found = (resource.get("apiVersion"), resource.get("kind"), metadata.get("namespace"), metadata.get("name"))
    return Key(*(part if isinstance(part, str) else "" for part in found))


def problems(document: Any) -> list[tuple[str, str]]:
    """What keeps a document from being an object that a request could carry: (field, reason).

    Args:
        document: One document of a file.
    """
    if not isinstance(document, Mapping):
        return [("", "is no Kubernetes object: it must have apiVersion, kind and metadata")]
    found = [
        (field, f"must be text, such as {example}")
        for field, example in (("apiVersion", "v1"), ("kind", "Pod"))
        if not isinstance(document.get(field), str) or not document[field]
    ]
    metadata = document.get("metadata")
    if metadata is None:
        return found
    if not isinstance(metadata, Mapping):
        return [*found, ("metadata", "must be an object")]
    found += [
        (f"metadata.{field}", "must be text; quote it if it looks like a number")
        for field in ("name", "namespace", "generateName")
        if not isinstance(metadata.get(field) or "", str)
    ]
    for field in ("labels", "annotations"):
        if not isinstance(metadata.get(field) or {}, Mapping):
            found.append((f"metadata.{field}", "must be an object"))
    return found


def prepare(
    document: Mapping[str, Any], cluster_scoped: Collection[tuple[str, str]] = CLUSTER_SCOPED
) -> dict[str, Any]:
    """The object as a request would carry it; the given one is not changed.

    Args:
        document: The object as the file has it.
        cluster_scoped: (group, kind) of the kinds without a namespace.
    """
    found: dict[str, Any] = _without_null_maps(document)
    key = key_of(found)
    group, _ = gvk.split_api_version(key.api_version)
    if not key.namespace and (group, key.kind) not in cluster_scoped:
        metadata = found.get("metadata")
        known = metadata if isinstance(metadata, dict) else {}
        found = {**found, "metadata": {**known, "namespace": _DEFAULT_NAMESPACE}}
    return found


def custom_cluster_scoped(definitions: Iterable[Mapping[str, Any]]) -> frozenset[tuple[str, str]]:
    """(group, kind) of the kinds without a namespace that CustomResourceDefinitions bring.

    Args:
        definitions: CustomResourceDefinitions; what is no such thing is passed over.
    """
    found = set()
    for definition in definitions:
        match definition:
            case {"spec": {"scope": "Cluster", "group": str(group), "names": {"kind": str(kind)}}}:
                found.add((group, kind))
    return frozenset(found)


def _without_null_maps(value: Any) -> Any:
    """A document in which maps that were written without anything (`annotations:`) are empty maps.

    Parts without such maps are shared with the given document.
    """
    if isinstance(value, dict):
        changed = None
        for key, entry in value.items():
            kept = {} if entry is None and key in _MAPS else _without_null_maps(entry)
            if kept is not entry:
                changed = dict(value) if changed is None else changed
                changed[key] = kept
        return value if changed is None else changed
    if isinstance(value, list):
        items = [_without_null_maps(entry) if isinstance(entry, dict) else entry for entry in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value
