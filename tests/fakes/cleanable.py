"""An API server with objects to clean up: lists in pages, deletes by preconditions, answers reviews; in memory."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from kymograph.clients.kubernetes import discovery, errors, resources

PODS = resources.Resource("", "v1", "pods", "Pod", namespaced=True)
NODES = resources.Resource("", "v1", "nodes", "Node", namespaced=False)
_VERBS = frozenset({"get", "list", "watch", "delete"})


def served(resource: resources.Resource, *, subresource: str = "") -> discovery.Served:
    """What discovery says of a resource."""
    return discovery.Served(
        resource.group, resource.version, resource.plural, resource.kind, subresource, resource.namespaced, _VERBS
    )


class Catalogues:
    """What is served: Pods and Nodes, or whatever is given."""

    def __init__(self, *found: resources.Resource) -> None:
        self.current = discovery.Catalogue(tuple(served(each) for each in found or (PODS, NODES)))

    async def refresh(self) -> discovery.Catalogue:
        """The same again."""
        return self.current


class Cleanable:
    """Objects of any kind, by plural, namespace and name.

    Attributes:
        deleted: What was deleted, in order: (plural, namespace, name, propagation).
        refusing: What the next deletes raise, oldest first.
        unlisted: What listing a plural raises.
        unread: What reading one of a plural raises.
        forbidden: Verbs that may not be done, with their plurals.
        granted: `status.resourceRules` of reviews of all rules.
        reviews: The reviews that were asked for.
        page_size: Objects in a page.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.deleted: list[tuple[str, str, str, str | None]] = []
        self.refusing: list[errors.KubernetesError] = []
        self.unlisted: dict[str, errors.KubernetesError] = {}
        self.unread: dict[str, errors.KubernetesError] = {}
        self.forbidden: set[tuple[str, str]] = set()
        self.granted: list[dict[str, Any]] = []
        self.reviews: list[Mapping[str, Any]] = []
        self.page_size = 2
        self._version = 0

    @property
    def names(self) -> list[str]:
        """The names of what was deleted."""
        return [name for _, _, name, _ in self.deleted]

    def put(self, name: str, namespace: str = "shop", plural: str = "pods", **metadata: Any) -> dict[str, Any]:
        """Create or change an object."""
        self._version += 1
        before = self.objects.get((plural, namespace, name))
        uid = before["metadata"]["uid"] if before else f"uid-{self._version}"
        document = {"metadata": {"name": name, "uid": uid, "resourceVersion": str(self._version), **metadata}}
        if namespace:
            document["metadata"]["namespace"] = namespace
        self.objects[plural, namespace, name] = document
        return document

    async def pages(self, resource: resources.Resource, *, namespace: str = "") -> AsyncIterator[dict[str, Any]]:
        """List."""
        if resource.plural in self.unlisted:
            raise self.unlisted[resource.plural]
        items = [
            document
            for (plural, of, _), document in self.objects.items()
            if plural == resource.plural and namespace in ("", of)
        ]
        for start in range(0, max(len(items), 1), self.page_size):
            yield {"metadata": {}, "items": items[start : start + self.page_size]}

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """Read one."""
        if resource.plural in self.unread:
            raise self.unread[resource.plural]
        try:
            found = self.objects[resource.plural, namespace, name]
        except KeyError:
            raise errors.NotFound(404, "NotFound", name) from None
        return {"apiVersion": resource.api_version, "kind": resource.kind, **found}

    async def delete(
        self,
        resource: resources.Resource,
        name: str,
        *,
        namespace: str,
        uid: str,
        resource_version: str,
        propagation: str | None,
    ) -> None:
        """Delete one, if it is what is meant."""
        if self.refusing:
            raise self.refusing.pop(0)
        metadata = (await self.get(resource, name, namespace=namespace))["metadata"]
        if (metadata["uid"], metadata["resourceVersion"]) != (uid, resource_version):
            raise errors.Conflict(409, "Conflict", "the object has changed")
        del self.objects[resource.plural, namespace, name]
        self.deleted.append((resource.plural, namespace, name, propagation))

    async def create(self, resource: resources.Resource, document: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a review of what may be done."""
        self.reviews.append(document["spec"])
        if resource.plural == "selfsubjectrulesreviews":
            return {"status": {"resourceRules": self.granted}}
        asked = document["spec"]["resourceAttributes"]
        return {"status": {"allowed": (asked["verb"], asked["resource"]) not in self.forbidden}}


class NoFacts:
    """Knows what it was told, and nothing else; remembers what it was asked."""

    def __init__(self, known: Mapping[Any, Any] | None = None) -> None:
        self.known = known or {}
        self.asked: list[Any] = []

    def at_hand(self, need: Any, facts: Any) -> bool:
        """Nothing is."""
        return False

    async def fetch(self, need: Any, facts: Any) -> None:
        """What was told."""
        self.asked.append(need)
        if need in self.known:
            facts.add(need, self.known[need])
        else:
            facts.fail(need, "nobody knows")
