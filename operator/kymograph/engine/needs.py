"""What an evaluation lacks and asks its caller for, and the facts it has been given.

The engine fetches nothing. Where it misses something it raises `Needed`; the caller fetches that with a client of
its own, puts it into the facts, and evaluates again.
"""

import dataclasses
from collections.abc import Collection
from typing import Any, NamedTuple, TypeAlias

from kymograph.apimachinery import imageref
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


@dataclasses.dataclass(frozen=True, slots=True)
class Now:
    """The time of the evaluation, in nanoseconds since 1970: one moment for all its expressions."""


@dataclasses.dataclass(frozen=True, slots=True)
class Seed:
    """Randomness for one evaluation: 32 bytes, from which everything random in it is drawn."""


@dataclasses.dataclass(frozen=True, slots=True)
class HostAddresses:
    """The addresses that a host name resolves to: a tuple of IP addresses as text; empty if it resolves to none."""

    host: str


@dataclasses.dataclass(frozen=True, slots=True)
class ConfigMap:
    """A ConfigMap: `{"metadata": {...}, "data": {...}}`."""

    namespace: str
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class APICall:
    """What the API server answers: any JSON value.

    Attributes:
        path: Path with its query, `/api/v1/namespaces?labelSelector=a`; absolute and without `.` or `..`.
        method: `GET` or `POST`.
        body: The JSON that is posted; empty for none.
    """

    path: str
    method: str = "GET"
    body: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceCall:
    """What a service outside the API server answers: any JSON value.

    Attributes:
        url: Where.
        method: `GET` or `POST`.
        headers: Names and values.
        body: The JSON that is posted; empty for none.
        ca_bundle: Certificates to trust, PEM; empty for those of the system.
        policy_namespace: Namespace of the policy that calls; empty for one of the cluster. Decides whether the
            operator's token may be shown.
    """

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    ca_bundle: str = ""
    policy_namespace: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageData:
    """What a registry holds under a reference.

    `{image, resolvedImage, registry, repository, identifier, manifest, configData}`, and `manifestList` for an index.

    Attributes:
        reference: The image as the policy names it.
        secrets: Names of pull secrets in the operator's namespace.
        providers: Names of the registries whose ambient credentials may be used.
        insecure: Plain HTTP is allowed.
    """

    reference: str
    secrets: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    insecure: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class GlobalEntry:
    """What a GlobalContextEntry holds: any JSON value.

    Attributes:
        name: `entry`, or `entry.projection`.
    """

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Object:
    """One object of the cluster: all of it, or None if there is none of that name.

    Attributes:
        api_version: `v1`, `apps/v1`.
        kind: Its kind.
        namespace: Its namespace; empty for cluster-scoped objects.
        name: Its name.
    """

    api_version: str
    kind: str
    namespace: str
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Objects:
    """The objects of a kind: a list, each with its `apiVersion` and `kind`, by name.

    Attributes:
        api_version: `v1`, `apps/v1`; empty for the preferred one.
        kind: Their kind.
        namespace: Their namespace; empty for cluster-scoped objects.
        selector: Which of them: a LabelSelector as JSON with sorted keys; empty for all.
    """

    api_version: str
    kind: str
    namespace: str
    selector: str = ""


Need: TypeAlias = (
    NamespaceLabels
    | ResourceKind
    | UserRoles
    | Now
    | Seed
    | HostAddresses
    | ConfigMap
    | APICall
    | ServiceCall
    | ImageData
    | GlobalEntry
    | Object
    | Objects
)


class Installation(NamedTuple):
    """What whoever installed all this says to every evaluation.

    Attributes:
        images: Whose images are that name no registry.
        context_size: How many bytes of JSON the context entries of one evaluation may load; 0 for any number.
    """

    images: imageref.Naming = imageref.STANDARD
    context_size: int = 2 * 1024 * 1024


STANDARD = Installation()
"""What counts where nothing is said, as in Kyverno."""


class Needed(Exception):
    """An evaluation cannot go on without a fact. No error: the caller adds the fact and evaluates again."""

    def __init__(self, need: Need) -> None:
        super().__init__(need)
        self.need = need


class Facts:
    """What has been fetched for one request so far.

    Args:
        without: Classes of needs that nothing here can meet. Context entries that would ask for one are left out, as
            Kyverno's command line does without a cluster.
        installation: What holds for every evaluation at this moment.

    Attributes:
        installation: As given.
    """

    __slots__ = ("_known", "installation", "without")

    def __init__(self, without: Collection[type[Need]] = (), installation: Installation = STANDARD) -> None:
        self._known: dict[Need, Any] = {}
        self.without = frozenset(without)
        self.installation = installation

    def add(self, need: Need, value: Any) -> None:
        """Record what a need turned out to be, in the shape its class describes."""
        self._known[need] = value

    def fail(self, need: Need, reason: str) -> None:
        """Record that a need cannot be met; evaluations that depend on it end in an error that says why."""
        self._known[need] = errors.EvaluationError(reason)

    def skip(self, need: Need) -> None:
        """Record that nobody can say here what a need is; a context entry that asks for it is left out."""
        self._known[need] = errors.Unavailable(f"{need} is not available here")

    def require(self, need: Need) -> Any:
        """What a need turned out to be.

        Raises:
            Needed: It has not been fetched yet.
            Unavailable: It cannot be fetched here.
            EvaluationError: It could not be fetched.
        """
        try:
            value = self._known[need]
        except KeyError:
            if type(need) in self.without:
                raise errors.Unavailable(f"{need} is not available here") from None
            raise Needed(need) from None
        if isinstance(value, errors.EvaluationError):
            raise type(value)(str(value))
        return value
