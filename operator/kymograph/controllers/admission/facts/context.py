"""What the context of a policy asks for: ConfigMaps, calls, images, global entries, time, chance and addresses.

Every call is made by a traced client with a limit on what it may bring; how long it may take is the review's business.
A failure is a fact as well: the evaluation that asked ends in an error that says why, or uses its default.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from kymograph.clients.http import errors as http_errors
from kymograph.clients.http import guard, services
from kymograph.clients.kubernetes import client as clients
from kymograph.clients.kubernetes import errors, informer, resources
from kymograph.clients.registry import client as registry
from kymograph.clients.registry import errors as registry_errors
from kymograph.engine import needs

CACHED_CONFIG_MAPS = "cache.kyverno.io/enabled"
"""The label of ConfigMaps that are kept in memory: one that a policy asks for in every review should have it."""


class GlobalEntries(Protocol):
    """What GlobalContextEntries hold."""

    def at_hand(self, name: str) -> Any:
        """What an entry (`entry`) or one of its projections (`entry.projection`) holds.

        Raises:
            LookupError: It is not known yet, or there is nothing to know.
        """

    async def wait(self, name: str) -> Any:
        """The same, once it is known.

        Raises:
            LookupError: There is nothing to know; the text says why.
        """


def config_maps(client: clients.KubernetesClient) -> informer.Informer:
    """An informer that keeps the ConfigMaps that are labelled to be kept, as policies see them."""
    return informer.Informer(client, resources.CONFIG_MAPS, label_selector=CACHED_CONFIG_MAPS, project=_config_map)


@dataclasses.dataclass(frozen=True, slots=True)
class Calls:
    """Makes the calls that policies and global entries describe.

    Attributes:
        client: Calls the API server.
        services: Calls services.
        limit: The most bytes that an answer of the API server may have.
    """

    client: clients.KubernetesClient
    services: services.Services
    limit: int

    async def __call__(self, need: needs.APICall | needs.ServiceCall) -> Any:
        """The answer, any JSON.

        Raises:
            KubernetesError: The API server did not give it.
            CallError: The service did not give it.
        """
        if isinstance(need, needs.ServiceCall):
            return await self.services.call(need)
        return await self.client.request(need.path, limit=self.limit, method=need.method, body=need.body)


@dataclasses.dataclass(frozen=True, slots=True)
class ContextFacts:
    """Answers what contexts ask for.

    Attributes:
        client: Reads ConfigMaps.
        config_maps: The informer of `config_maps`.
        calls: Calls the API server and services.
        registries: Looks up images.
        entries: What GlobalContextEntries hold.
        now: Nanoseconds since 1970.
        randomness: Gives so many random bytes.
    """

    client: clients.KubernetesClient
    config_maps: informer.Informer
    calls: Calls
    registries: registry.Registries
    entries: GlobalEntries
    now: Callable[[], int] = time.time_ns
    randomness: Callable[[int], bytes] = os.urandom

    def at_hand(self, need: needs.Need, facts: needs.Facts) -> bool:
        """Add what a need turns out to be where that is known without asking anybody; whether it is."""
        match need:
            case needs.Now():
                facts.add(need, self.now())
            case needs.Seed():
                facts.add(need, self.randomness(32))
            case needs.ConfigMap(namespace, name) if (namespace, name) in self.config_maps.objects:
                facts.add(need, self.config_maps.objects[namespace, name])
            case needs.GlobalEntry(name):
                try:
                    facts.add(need, self.entries.at_hand(name))
                except LookupError:
                    return False
            case _:
                return False
        return True

    async def fetch(self, need: needs.Need, facts: needs.Facts) -> None:
        """Ask whoever knows, or record why it cannot be known."""
        try:
            facts.add(need, await self._answer(need))
        except errors.Forbidden as error:
            facts.fail(need, f"permission denied: {error.message}")
        except errors.StatusError as error:
            facts.fail(need, error.message)
        except (errors.KubernetesError, http_errors.CallError, registry_errors.RegistryError, LookupError) as error:
            facts.fail(need, str(error.args[0] if error.args else error))

    async def _answer(self, need: needs.Need) -> Any:
        match need:
            case needs.ConfigMap(namespace, name):
                return _config_map(await self.client.get(resources.CONFIG_MAPS, name, namespace=namespace))
            case needs.APICall() | needs.ServiceCall():
                return await self.calls(need)
            case needs.ImageData():
                return await self.registries.image(need)
            case needs.GlobalEntry(name):
                return await self.entries.wait(name)
            case needs.HostAddresses(host):
                return await guard.addresses_of(host)
        raise LookupError(f"{type(need).__name__} is not available here")


def _config_map(document: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": document["metadata"], "data": document.get("data")}
