"""What an evaluation lacks and asks its caller for, and the facts it has been given.

The engine fetches nothing. Where it misses something it raises `Needed`; the caller fetches that with a client of
its own, puts it into the facts, and evaluates again.
"""

import dataclasses
from typing import Any, NamedTuple, TypeAlias

from kymograph.engine import errors


@dataclasses.dataclass(frozen=True, slots=True)
class NamespaceLabels:
    """The labels of a namespace: a map of strings; empty if it has none."""

    namespace: str


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceKind:
    """The kind that a resource serves, which a request on a subresource does not say: (group, version, kind)."""

    group: str
    version: str
    resource: str


@dataclasses.dataclass(frozen=True, slots=True)
class UserRoles:
    """The roles that are bound to a user, as far as they count in a namespace: a `Roles`.

    Attributes:
        user: Name of the user.
        groups: The user's groups.
        namespace: Namespace of the request; empty for cluster-scoped objects.
    """

    user: str
    groups: tuple[str, ...]
    namespace: str


class Roles(NamedTuple):
    """What `roles` and `clusterRoles` of filters, `request.roles` and `request.clusterRoles` are about.

    Attributes:
        roles: Roles as `namespace:name`, of all namespaces, sorted.
        cluster_roles: Names of ClusterRoles, sorted.
    """

    roles: tuple[str, ...]
    cluster_roles: tuple[str, ...]


Need: TypeAlias = NamespaceLabels | ResourceKind | UserRoles


class Needed(Exception):
    """An evaluation cannot go on without a fact. No error: the caller adds the fact and evaluates again."""

    def __init__(self, need: Need) -> None:
        super().__init__(need)
        self.need = need


class Facts:
    """What has been fetched for one request so far."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Need, Any] = {}

    def add(self, need: Need, value: Any) -> None:
        """Record what a need turned out to be, in the shape its class describes."""
        self._known[need] = value

    def fail(self, need: Need, reason: str) -> None:
        """Record that a need cannot be met; evaluations that depend on it end in an error that says why."""
        self._known[need] = errors.EvaluationError(reason)

    def require(self, need: Need) -> Any:
        """What a need turned out to be.

        Raises:
            Needed: It has not been fetched yet.
            EvaluationError: It could not be fetched.
        """
        try:
            value = self._known[need]
        except KeyError:
            raise Needed(need) from None
        if isinstance(value, errors.EvaluationError):
            raise errors.EvaluationError(str(value))
        return value
