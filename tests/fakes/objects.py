"""An API server in memory, as far as background work knows one: objects with versions, preconditions and watches."""

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from kymograph.apimachinery import jsonpatch
from kymograph.clients.kubernetes import discovery, errors, resources

_EVERYTHING = frozenset({"get", "list", "watch", "create", "update", "patch", "delete"})
SERVED = (
    discovery.Served("", "v1", "configmaps", "ConfigMap", "", namespaced=True, verbs=_EVERYTHING),
    discovery.Served("", "v1", "secrets", "Secret", "", namespaced=True, verbs=_EVERYTHING),
    discovery.Served("", "v1", "namespaces", "Namespace", "", namespaced=False, verbs=_EVERYTHING),
)

Place = tuple[str, str, str]
"""Plural, namespace and name."""


class Objects:
    """Objects by place; satisfies what background work asks of a Kubernetes client, and of discovery.

    Attributes:
        stored: The objects.
        calls: What was called: verb and place.
        forbidden: Pairs of verb and plural that are not granted.
        broken: What the next calls raise instead, oldest first.
        refused: What a webhook says of every change of a resource, by its plural.
    """

    def __init__(self) -> None:
        self.current = discovery.Catalogue(SERVED)
        self.stored: dict[Place, dict[str, Any]] = {}
        self.calls: list[tuple[str, Place]] = []
        self.forbidden: set[tuple[str, str]] = set()
        self.broken: list[errors.KubernetesError] = []
        self.refused: dict[str, str] = {}
        self._versions = itertools.count(100)
        self._events: list[tuple[int, str, Place, dict[str, Any]]] = []
        self._changed = asyncio.Condition()

    async def refresh(self) -> discovery.Catalogue:
        """What is served."""
        return self.current

    async def put(self, plural: str, document: dict[str, Any]) -> dict[str, Any]:
        """Somebody else creates or changes an object."""
        metadata = document["metadata"]
        place = (plural, metadata.get("namespace") or "", metadata["name"])
        return await self._store(place, document, self.stored.get(place))

    async def remove(self, plural: str, namespace: str, name: str) -> None:
        """Somebody else deletes an object."""
        await self._drop((plural, namespace, name))

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "", **_: Any) -> dict[str, Any]:
        """Read."""
        place = self._call("get", resource, namespace, name)
        return copy.deepcopy(self._existing(place))

    async def create(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = ""
    ) -> dict[str, Any]:
        """Create; the status is dropped."""
        place = self._call("create", resource, namespace, document["metadata"]["name"])
        if place in self.stored:
            raise errors.Conflict(409, "AlreadyExists", f"{place} already exists")
        metadata = {**document["metadata"], **({"namespace": namespace} if namespace else {})}
        return await self._store(place, {**document, "metadata": metadata}, None)

    async def apply(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = "", **_: Any
    ) -> dict[str, Any]:
        """Apply: what was there and is not named stays."""
        place = self._call("patch", resource, namespace, document["metadata"]["name"])
        before = self.stored.get(place)
        return await self._store(place, _merged(before or {}, document), before)

    async def update(
        self, resource: resources.Resource, document: Mapping[str, Any], *, namespace: str = "", subresource: str = ""
    ) -> dict[str, Any]:
        """Replace."""
        place = self._call("update", resource, namespace, document["metadata"]["name"])
        before = self._existing(place)
        self._check(before, document["metadata"].get("resourceVersion"), None)
        return await self._store(place, dict(document), before)

    async def merge(
        self,
        resource: resources.Resource,
        name: str,
        patch: Mapping[str, Any],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Merge."""
        place = self._call("patch", resource, namespace, name)
        before = self._existing(place)
        metadata = patch.get("metadata") or {}
        self._check(before, metadata.get("resourceVersion"), metadata.get("uid"))
        return await self._store(place, _merged(before, patch, removes=True), before)

    async def patch(
        self,
        resource: resources.Resource,
        name: str,
        operations: Sequence[Mapping[str, Any]],
        *,
        namespace: str = "",
        subresource: str = "",
    ) -> dict[str, Any]:
        """Patch."""
        place = self._call("patch", resource, namespace, name)
        before = self._existing(place)
        for each in operations:
            if each["op"] == "test" and before["metadata"]["resourceVersion"] != each["value"]:
                raise errors.StatusError(422, "Invalid", "testing value /metadata/resourceVersion failed: test failed")
        applied = jsonpatch.apply(before, [each for each in operations if each["op"] != "test"])
        return await self._store(place, applied, before)

    async def delete(
        self,
        resource: resources.Resource,
        name: str,
        *,
        namespace: str = "",
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        """Delete."""
        place = self._call("delete", resource, namespace, name)
        self._check(self._existing(place), resource_version, uid)
        await self._drop(place)

    async def pages(
        self, resource: resources.Resource, *, namespace: str = "", label_selector: str = "", **_: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """List, in one page."""
        self._call("list", resource, namespace, "")
        items = [
            copy.deepcopy(each)
            for place, each in self.stored.items()
            if place[0] == resource.plural and namespace in ("", place[1]) and _selected(each, label_selector)
        ]
        yield {"metadata": {"resourceVersion": str(next(self._versions))}, "items": items}

    async def count(self, resource: resources.Resource, *, namespace: str = "") -> int:
        """Count; never broken."""
        self.calls.append(("count", (resource.plural, namespace, "")))
        return sum(place[0] == resource.plural and namespace in ("", place[1]) for place in self.stored)

    async def watch(
        self,
        resource: resources.Resource,
        resource_version: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        **_: Any,
    ) -> AsyncIterator[dict[str, Any]]:
        """Watch, for ever."""
        seen = int(resource_version)
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._events and self._events[-1][0] > seen)  # noqa: B023 - awaited before `seen` changes
                news = [each for each in self._events if each[0] > seen]
            for version, kind, place, document in news:
                seen = version
                if place[0] == resource.plural and namespace in ("", place[1]) and _selected(document, label_selector):
                    yield {"type": kind, "object": copy.deepcopy(document)}

    def verbs(self, plural: str) -> list[str]:
        """The writing calls on a resource, in order."""
        return [verb for verb, place in self.calls if place[0] == plural and verb not in ("get", "list")]

    def _call(self, verb: str, resource: resources.Resource, namespace: str, name: str) -> Place:
        place = (resource.plural, namespace, name)
        self.calls.append((verb, place))
        if self.broken:
            raise self.broken.pop(0)
        if resource.plural in self.refused and verb in ("create", "update", "patch", "delete"):
            raise errors.StatusError(400, "BadRequest", self.refused[resource.plural])
        if (verb, resource.plural) in self.forbidden:
            raise errors.Forbidden(403, "Forbidden", f'User "us" cannot {verb} resource "{resource.plural}"')
        return place

    def _existing(self, place: Place) -> dict[str, Any]:
        if place not in self.stored:
            raise errors.NotFound(404, "NotFound", f"{place} not found")
        return self.stored[place]

    def _check(self, document: Mapping[str, Any], version: str | None, uid: str | None) -> None:
        metadata = document["metadata"]
        if (version or metadata["resourceVersion"]) != metadata["resourceVersion"] or (
            uid or metadata["uid"]
        ) != metadata["uid"]:
            raise errors.Conflict(409, "Conflict", "it has changed")

    async def _store(
        self, place: Place, document: Mapping[str, Any], before: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        version = next(self._versions)
        held = before["metadata"] if before is not None else {}
        metadata = {
            "creationTimestamp": held.get("creationTimestamp") or "2026-01-01T00:00:00Z",
            "uid": held.get("uid") or f"uid-{version}",
            **document["metadata"],
            "resourceVersion": str(version),
        }
        made = copy.deepcopy({**document, "metadata": metadata})
        same = before is not None and _untold(made) == _untold(before)
        if same:
            return copy.deepcopy(dict(before or {}))
        self.stored[place] = made
        await self._tell(version, "MODIFIED" if before else "ADDED", place, made)
        return copy.deepcopy(made)

    async def _drop(self, place: Place) -> None:
        document, version = self.stored.pop(place), next(self._versions)
        metadata = {**document["metadata"], "resourceVersion": str(version)}
        await self._tell(version, "DELETED", place, {**document, "metadata": metadata})

    async def _tell(self, version: int, kind: str, place: Place, document: dict[str, Any]) -> None:
        async with self._changed:
            self._events.append((version, kind, place, document))
            self._changed.notify_all()


def _untold(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in document["metadata"].items() if key != "resourceVersion"}
    return {**document, "metadata": metadata}


def _merged(before: Mapping[str, Any], patch: Mapping[str, Any], *, removes: bool = False) -> dict[str, Any]:
    """Both together; in a merge patch a null removes a field (RFC 7386)."""
    merged = dict(before)
    for key, value in patch.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merged(merged[key], value, removes=removes)
        elif value is None and removes:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _selected(document: Mapping[str, Any], selector: str) -> bool:
    told = document["metadata"].get("labels") or {}
    for part in filter(None, selector.split(",")):
        key, equals, value = part.partition("=")
        if key not in told or (equals and told[key] != value):
            return False
    return True
