"""What rules ask for while they are applied in the background: everything a review may ask for, and other objects.

Sources of clones are read from the API server each time; an informer that is a moment behind would undo a change.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol, TypeVar

import orjson

from kymograph.clients.kubernetes import errors as kubernetes_errors
from kymograph.clients.kubernetes import resources
from kymograph.controllers.background import errors, kinds
from kymograph.engine import needs

_Result = TypeVar("_Result")


class Source(Protocol):
    """Knows everything but objects."""

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        """Add what a need turns out to be where that is known without asking anybody; whether it is."""

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Find out what a need turns out to be and add it, or the reason why it cannot be known."""


class Reader(Protocol):
    """What is asked of a Kubernetes client."""

    async def get(self, resource: resources.Resource, name: str, *, namespace: str = "") -> dict[str, Any]:
        """One object."""

    def pages(
        self, resource: resources.Resource, *, namespace: str = "", label_selector: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """The objects of a collection in pages."""


class Facts:
    """Answers the needs of evaluations.

    Args:
        source: Knows everything but objects.
        client: Reads objects.
        catalogues: What the API server serves.
        installation: Gives what holds for every evaluation at the moment.
    """

    def __init__(
        self,
        source: Source,
        client: Reader,
        catalogues: kinds.Catalogues,
        installation: Callable[[], needs.Installation] = lambda: needs.STANDARD,
    ) -> None:
        self._source = source
        self._client = client
        self._catalogues = catalogues
        self._installation = installation

    async def complete(self, evaluation: Callable[[], _Result], facts: needs.Facts) -> _Result:
        """Evaluate until nothing is missing.

        Args:
            evaluation: Is called again whenever a fact has been added.
            facts: Where facts are added.
        """
        facts.installation = self._installation()
        while True:
            try:
                return evaluation()
            except needs.Needed as needed:
                await self._add(needed.need, facts)

    async def _add(self, need: needs.Need, facts: needs.Facts) -> None:
        try:
            match need:
                case needs.Object(api_version, kind, namespace, name):
                    facts.add(need, await self._object(api_version, kind, namespace, name))
                case needs.Objects(api_version, kind, namespace, selector):
                    facts.add(need, await self._objects(api_version, kind, namespace, selector))
                case _:
                    if not self._source.at_hand(need, facts):
                        await self._source.fetch(need, facts)
        except (kubernetes_errors.KubernetesError, errors.Failing) as error:
            facts.fail(need, str(error))

    async def _object(self, api_version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        resource = await kinds.resource_of(self._catalogues, api_version, kind)
        try:
            return await self._client.get(resource, name, namespace=namespace)
        except kubernetes_errors.NotFound:
            return None

    async def _objects(self, api_version: str, kind: str, namespace: str, selector: str) -> list[dict[str, Any]]:
        resource = await kinds.resource_of(self._catalogues, api_version, kind)
        query = label_query(orjson.loads(selector)) if selector else ""
        found = []
        async for page in self._client.pages(resource, namespace=namespace, label_selector=query):
            found += [
                {"apiVersion": resource.api_version, "kind": resource.kind, **each} for each in page.get("items") or ()
            ]
        return sorted(found, key=lambda each: str(each["metadata"]["name"]))


def label_query(selector: Mapping[str, Any]) -> str:
    """A LabelSelector as the API server takes it in a query; wildcards have no place there."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for each in selector.get("matchExpressions") or ():
        key, values = each["key"], ",".join(each.get("values") or ())
        match each["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts)
