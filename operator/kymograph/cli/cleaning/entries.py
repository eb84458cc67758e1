"""What GlobalContextEntries of a live cluster hold, looked up once with the rights of whoever looks.

Kept by nobody: an operator has these data in memory, a preview asks for them when a condition does. Services are not
called: they are reached from inside of the cluster.
"""

from typing import Any

from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import discovery, resources
from kymograph.controllers.globalcontext import definition, sources, store
from kymograph.engine import errors as engine_errors
from kymograph.engine import needs

_LARGEST = sources.COLLECTION_SIZE


class Entries:
    """The entries of a cluster.

    Args:
        client: Reads them and what they name.
    """

    def __init__(self, client: clients.KubernetesClient) -> None:
        self._client = client
        self._held: dict[str, store.Entry] = {}

    async def look_up(self, reference: str) -> Any:
        """What an entry (`entry`) or one of its projections (`entry.projection`) holds.

        Raises:
            LookupError: Nothing; the text says why.
            KubernetesError: It could not be read.
        """
        name, _, projection = reference.partition(".")
        if name not in self._held:
            document = await self._client.get(resources.GLOBAL_CONTEXT_ENTRIES, name)
            self._held[name] = await self._entry(document)
        return store.value(self._held[name], projection)

    async def _entry(self, document: dict[str, Any]) -> store.Entry:
        try:
            read = definition.read(document)
        except engine_errors.PolicyInvalid as invalid:
            return store.Entry(document, None, invalid.problems, None)
        return store.Entry(document, read, (), sources.Fixed(await self._data(read.source)))

    async def _data(self, source: definition.Collection | definition.Call) -> Any:
        if isinstance(source, definition.Collection):
            return await self._collection(source)
        match source.need:
            case needs.APICall(path, method, body):
                return await self._client.request(path, limit=_LARGEST, method=method, body=body)
        raise LookupError("the service that it calls is known to the operator alone, not to a preview")

    async def _collection(self, wanted: definition.Collection) -> list[dict[str, Any]]:
        catalogue = await discovery.discover(self._client)
        kind = catalogue.kind_of(wanted.group, wanted.version, wanted.resource)
        if kind is None:
            raise LookupError(f"the API server does not serve {wanted}")
        resource = resources.Resource(wanted.group, wanted.version, wanted.resource, kind, namespaced=True)
        found: list[dict[str, Any]] = []
        async for page in self._client.pages(resource, namespace=wanted.namespace):
            found += [sources.whole(resource, item) for item in page.get("items") or ()]
        return sorted(found, key=lambda each: (each["metadata"].get("namespace", ""), each["metadata"]["name"]))
