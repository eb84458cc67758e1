"""What a filter looks at, taken from a request once and shared by all rules of all policies."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple


class User(NamedTuple):
    """Who asks.

    Attributes:
        name: The user name, `system:serviceaccount:ci:deployer` for service accounts.
        groups: The groups of the user.
        roles: Roles bound to the user, as `namespace:name`; empty where no policy asked for them.
        cluster_roles: ClusterRoles bound to the user; likewise.
    """

    name: str
    groups: tuple[str, ...] = ()
    roles: Collection[str] = ()
    cluster_roles: Collection[str] = ()


class Target(NamedTuple):
    """One object under one operation. A tuple, because one is made per request.

    Attributes:
        kind: (group, version, kind, subresource); for a subresource the kind of the object that has it.
        operation: CREATE, UPDATE, DELETE or CONNECT.
        is_namespace: The object is a Namespace.
        namespace: Namespace of the object; empty for cluster-scoped objects.
        name: Name of the object, or its `generateName` while it has none.
        labels: Labels of the object.
        annotations: Annotations of the object.
        namespace_labels: Labels of the object's namespace; empty where no policy asked for them.
        user: Who asks; None in background work, where nobody does.
    """

    kind: tuple[str, str, str, str]
    operation: str
    is_namespace: bool
    namespace: str
    name: str
    labels: Mapping[str, Any]
    annotations: Mapping[str, Any]
    namespace_labels: Mapping[str, str]
    user: User | None


def of(
    resource: Mapping[str, Any],
    kind: tuple[str, str, str, str],
    operation: str,
    namespace: str,
    namespace_labels: Mapping[str, str],
    user: User | None,
) -> Target:
    """Take from an object what filters look at.

    Args:
        resource: The object; on DELETE the old one.
        kind: (group, version, kind, subresource) to match.
        operation: The operation to match.
        namespace: Namespace of the request; where it is empty, the object's own counts.
        namespace_labels: Labels of that namespace.
        user: Who asks, or None.
    """
    metadata = resource.get("metadata")
    if not isinstance(metadata, dict):  # whoever asks for a Mapping waits ten times as long
        metadata = {}
    is_namespace = kind[2] == "Namespace"
    return Target(
        kind=kind,
        operation=operation,
        is_namespace=is_namespace,
        namespace="" if is_namespace else namespace or _text(metadata.get("namespace")),
        name=_text(metadata.get("name")) or _text(metadata.get("generateName")),
        labels=_texts(metadata.get("labels")),
        annotations=_texts(metadata.get("annotations")),
        namespace_labels=namespace_labels,
        user=user,
    )


_NO_TEXTS: Mapping[str, str] = {}


def _text(value: Any) -> str:
    """A text; what is none counts as absent, as in Kyverno."""
    return value if isinstance(value, str) else ""


def _texts(table: Any) -> Mapping[str, str]:
    """A map of texts; one that holds anything else counts as empty, as in Kyverno."""
    if not isinstance(table, dict):
        return _NO_TEXTS
    for value in table.values():
        if type(value) is not str:
            return _NO_TEXTS
    return table
