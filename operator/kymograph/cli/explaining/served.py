"""What an API server is taken to serve, to derive webhooks without asking one: Kubernetes' own kinds.

Other kinds that a policy names are taken to be served too, under the plural that tools guess.
"""

from collections.abc import Iterable, Iterator

from kymograph.apimachinery import wildcard
from kymograph.clients.kubernetes import discovery
from kymograph.engine import policy

_BUILT_IN = """
v1 pods Pod exec attach portforward proxy log binding eviction ephemeralcontainers resize status
v1 services Service proxy status
v1 configmaps ConfigMap
v1 secrets Secret
v1 endpoints Endpoints
v1 events Event
v1 limitranges LimitRange
v1 persistentvolumeclaims PersistentVolumeClaim status
v1 podtemplates PodTemplate
v1 replicationcontrollers ReplicationController scale status
v1 resourcequotas ResourceQuota status
v1 serviceaccounts ServiceAccount token
v1 namespaces -Namespace finalize status
v1 nodes -Node proxy status
v1 persistentvolumes -PersistentVolume status
apps/v1 deployments Deployment scale status
apps/v1 daemonsets DaemonSet status
apps/v1 statefulsets StatefulSet scale status
apps/v1 replicasets ReplicaSet scale status
apps/v1 controllerrevisions ControllerRevision
autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler status
batch/v1 jobs Job status
batch/v1 cronjobs CronJob status
certificates.k8s.io/v1 certificatesigningrequests -CertificateSigningRequest approval status
coordination.k8s.io/v1 leases Lease
discovery.k8s.io/v1 endpointslices EndpointSlice
networking.k8s.io/v1 ingresses Ingress status
networking.k8s.io/v1 ingressclasses -IngressClass
networking.k8s.io/v1 networkpolicies NetworkPolicy
node.k8s.io/v1 runtimeclasses -RuntimeClass
policy/v1 poddisruptionbudgets PodDisruptionBudget status
rbac.authorization.k8s.io/v1 roles Role
rbac.authorization.k8s.io/v1 rolebindings RoleBinding
rbac.authorization.k8s.io/v1 clusterroles -ClusterRole
rbac.authorization.k8s.io/v1 clusterrolebindings -ClusterRoleBinding
scheduling.k8s.io/v1 priorityclasses -PriorityClass
storage.k8s.io/v1 csidrivers -CSIDriver
storage.k8s.io/v1 csinodes -CSINode
storage.k8s.io/v1 storageclasses -StorageClass
storage.k8s.io/v1 volumeattachments -VolumeAttachment status
admissionregistration.k8s.io/v1 mutatingwebhookconfigurations -MutatingWebhookConfiguration
admissionregistration.k8s.io/v1 validatingwebhookconfigurations -ValidatingWebhookConfiguration
admissionregistration.k8s.io/v1 validatingadmissionpolicies -ValidatingAdmissionPolicy status
admissionregistration.k8s.io/v1 validatingadmissionpolicybindings -ValidatingAdmissionPolicyBinding
apiextensions.k8s.io/v1 customresourcedefinitions -CustomResourceDefinition status
apiregistration.k8s.io/v1 apiservices -APIService status
"""
"""A resource a line: version, plural, kind (after `-`: without namespaces), subresources."""


def catalogue(policies: Iterable[policy.CompiledPolicy]) -> discovery.Catalogue:
    """Kubernetes' own kinds, and those that the policies name beside them."""
    known = list(_built_in())
    assumed = []
    for selector in {
        selector for each in policies for rule in each.rules for scope in rule.match.scopes for selector in scope.kinds
    }:
        parts = (selector.group, selector.version, selector.kind, selector.subresource)
        if wildcard.has(selector.kind) or next(discovery.Catalogue(tuple(known)).find(*parts), None) is not None:
            continue
        assumed.append(
            discovery.Served(
                selector.group, selector.version, _plural(selector.kind), selector.kind, selector.subresource, True
            )
        )
    return discovery.Catalogue((*known, *sorted(assumed, key=lambda served: (served.group, served.plural))))


def _built_in() -> Iterator[discovery.Served]:
    for line in _BUILT_IN.strip().splitlines():
        api_version, plural, kind, *subresources = line.split()
        group, _, version = api_version.rpartition("/")
        for subresource in ("", *subresources):
            yield discovery.Served(group, version, plural, kind.lstrip("-"), subresource, not kind.startswith("-"))


def _plural(kind: str) -> str:
    name = kind.lower()
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return f"{name}es"
    if name.endswith("y") and not name.endswith(("ay", "ey", "oy", "uy")):
        return f"{name[:-1]}ies"
    return f"{name}s"
