"""What spans about one policy say of it, with Kyverno's keys: the same, whoever does the work."""

from kymograph.clients.kubernetes import resources
from kymograph.telemetry import semconv


def attributes(resource: resources.Resource, namespace: str, name: str) -> dict[str, str]:
    """The attributes of a span about a policy.

    Args:
        resource: What it is, in the version that it is read in.
        namespace: Its namespace; empty for one of the cluster.
        name: Its name.
    """
    return {
        semconv.POLICY_GROUP: resource.group,
        semconv.POLICY_VERSION: resource.version,
        semconv.POLICY_KIND: resource.kind,
        semconv.POLICY_NAMESPACE: namespace,
        semconv.POLICY_NAME: name,
    }
