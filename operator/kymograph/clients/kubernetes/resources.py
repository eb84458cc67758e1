"""Which resources the operator calls, and the paths of their objects."""

import dataclasses
import urllib.parse


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API, as discovery describes it.

    Attributes:
        group: The API group; empty for the core group.
        version: The version to call.
        plural: The resource's name in paths.
        kind: The kind of its objects.
        namespaced: Whether its objects live in namespaces.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """`group/version`, or the version alone for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of a collection (no name), an object, or a subresource of one."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", urllib.parse.quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(urllib.parse.quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", namespaced=True)
VALIDATING_WEBHOOK_CONFIGURATIONS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)
MUTATING_WEBHOOK_CONFIGURATIONS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    namespaced=False,
)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
CLUSTER_POLICIES = Resource("kyverno.io", "v1", "clusterpolicies", "ClusterPolicy", namespaced=False)
POLICIES = Resource("kyverno.io", "v1", "policies", "Policy", namespaced=True)
POLICY_EXCEPTIONS = Resource("kyverno.io", "v2", "policyexceptions", "PolicyException", namespaced=True)
GLOBAL_CONTEXT_ENTRIES = Resource("kyverno.io", "v2", "globalcontextentries", "GlobalContextEntry", namespaced=False)
CLEANUP_POLICIES = Resource("kyverno.io", "v2", "cleanuppolicies", "CleanupPolicy", namespaced=True)
CLUSTER_CLEANUP_POLICIES = Resource(
    "kyverno.io", "v2", "clustercleanuppolicies", "ClusterCleanupPolicy", namespaced=False
)
UPDATE_REQUESTS = Resource("kyverno.io", "v2", "updaterequests", "UpdateRequest", namespaced=True)
TRACING_CONFIGURATIONS = Resource(
    "kymograph.dev", "v1alpha1", "tracingconfigurations", "TracingConfiguration", namespaced=False
)
