"""What the API server serves: every group, version and resource, read by aggregated discovery in two requests."""

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

from kymograph.apimachinery import wildcard
from kymograph.clients.kubernetes import errors

_ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Reader(Protocol):
    """What discovery asks of a Kubernetes client."""

    async def read(self, path: str, *, accept: str) -> dict[str, Any]:
        """The document at a path that is no resource."""


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """One resource or subresource that the API server serves.

    Attributes:
        group: Its API group; empty for the core group.
        version: One of the versions it is served in.
        plural: The resource's name in paths.
        kind: The kind of the resource (of the parent, for a subresource).
        subresource: Empty for the resource itself, else `status`, `exec`, `ephemeralcontainers`, ...
        namespaced: Whether its objects live in namespaces.
        verbs: What can be done with it: `get`, `list`, `watch`, `delete`, ...
        content: The kind that a subresource takes or gives: `Scale`, `Eviction`; empty for the resource itself.
    """

    group: str
    version: str
    plural: str
    kind: str
    subresource: str
    namespaced: bool
    verbs: frozenset[str] = frozenset()
    content: str = ""


class Catalogue:
    """What the API server served when it was asked; immutable."""

    def __init__(self, served: tuple[Served, ...] = ()) -> None:
        self.served = served

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalogue) and self.served == other.served

    def __hash__(self) -> int:
        return hash(self.served)

    def find(self, group: str, version: str, kind: str, subresource: str) -> Iterator[Served]:
        """What a kind selector of a policy means here; each part may hold wildcards, an empty subresource none.

        What selects Pods selects `pods/ephemeralcontainers` too, as in the engine's `filters.selects` and in Kyverno: a
        debug container is a change of the Pod.
        """
        for entry in self.served:
            if not (
                wildcard.match(group, entry.group)
                and wildcard.match(version, entry.version)
                and wildcard.match(kind, entry.kind)
            ):
                continue
            implied = (entry.group, entry.plural, entry.subresource) == ("", "pods", "ephemeralcontainers")
            if implied or (wildcard.match(subresource, entry.subresource) if subresource else not entry.subresource):
                yield entry

    def is_content(self, kind: str) -> bool:
        """Whether a kind is what some subresource takes or gives, and no resource's own: `Scale`."""
        found = [entry for entry in self.served if kind in (entry.kind, entry.content)]
        return bool(found) and all(entry.kind != kind for entry in found)

    def kind_of(self, group: str, version: str, plural: str) -> str | None:
        """The kind of a resource, or None where it is not served."""
        for entry in self.served:
            if (entry.group, entry.version, entry.plural) == (group, version, plural):
                return entry.kind
        return None


class Catalogues:
    """What the API server serves, read again when somebody has a reason to.

    Attributes:
        current: The latest known; empty until the first refresh.
    """

    def __init__(self, client: Reader) -> None:
        self._client = client
        self._turn = asyncio.Lock()
        self._begun = self._ended = 0
        self.current = Catalogue()

    async def refresh(self) -> Catalogue:
        """Ask the API server again. Who asks while others wait for their turn shares the next answer with them.

        Raises:
            KubernetesError: It did not answer.
        """
        before = self._begun
        async with self._turn:
            if self._ended <= before:  # else somebody has asked and been answered since
                self._begun += 1
                self.current = await discover(self._client)
                self._ended = self._begun
            return self.current


async def discover(client: Reader) -> Catalogue:
    """Ask the API server for all it serves.

    Raises:
        KubernetesError: It did not answer, or not with aggregated discovery v2 (Kubernetes before 1.30).
    """
    served: list[Served] = []
    for path in ("/api", "/apis"):
        document = await client.read(path, accept=_ACCEPT)
        try:
            served += _entries(document)
        except (KeyError, TypeError, AttributeError) as error:
            raise errors.AnswerInvalid(f"what {path} serves is no discovery document") from error
    return Catalogue(tuple(served))


def _entries(document: dict[str, Any]) -> Iterator[Served]:
    for group in document.get("items") or []:
        name = group.get("metadata", {}).get("name", "")
        for version in group.get("versions") or []:
            for resource in version.get("resources") or []:
                plural = resource["resource"]
                kind = (resource.get("responseKind") or {}).get("kind", "")
                namespaced = resource.get("scope") == "Namespaced"
                if not kind:
                    continue
                verbs = frozenset(resource.get("verbs") or ())
                yield Served(name, version["version"], plural, kind, "", namespaced, verbs)
                for sub in resource.get("subresources") or []:
                    verbs = frozenset(sub.get("verbs") or ())
                    content = (sub.get("responseKind") or {}).get("kind", "")
                    yield Served(name, version["version"], plural, kind, sub["subresource"], namespaced, verbs, content)
